import sys

print("not the output")
sys.exit("3 files are missing")
