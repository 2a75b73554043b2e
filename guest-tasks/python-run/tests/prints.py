import json
import sys

import omnimind

numbers = json.load(sys.stdin)
print("sum", sum(numbers), omnimind.input == numbers, __name__, sys.argv)
print("to the log", file=sys.stderr)
