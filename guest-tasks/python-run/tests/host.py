import omnimind

omnimind.save_checkpoint("state", "zwölf".encode())
print(omnimind.load_checkpoint("state").decode(), omnimind.load_checkpoint("other"))
print(omnimind.cancelled(), omnimind.describe()["attempt"], omnimind.remaining("fuel") > 0, omnimind.remaining("no such"))
try:
    omnimind.save_checkpoint("big", bytes(70_000_000))
except omnimind.Error as error:
    print(error.kind, "checkpoint_bytes" in str(error))
try:
    omnimind.report_progress(50, 5)
except TypeError as error:
    print(error)
