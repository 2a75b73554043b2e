import asyncio, base64, collections, csv, dataclasses, datetime, decimal, email, fractions, hashlib, io, itertools, json
import logging, math, pickle, random, re, sqlite3, statistics, tarfile, tempfile, tomllib, unittest, uuid, zipfile, zlib
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser


@dataclasses.dataclass
class Item:
    name: str


async def later(value):
    await asyncio.sleep(0.001)
    return value


async def main():
    async with asyncio.timeout(5):
        return await asyncio.gather(later(1), later(2))


class Tests(unittest.TestCase):
    def test_pickle_knows_the_classes_of_a_script(self):
        self.assertEqual(pickle.loads(pickle.dumps(Item("a"))), Item("a"))


print(asyncio.run(main()))
print(datetime.datetime.strptime("2026-02-03", "%Y-%m-%d").strftime("%A %d %B"))
print("Zürich".encode("cp1252"), "é".encode("utf-16-le"), "bücher.example".encode("idna"))
database = sqlite3.connect(":memory:")
database.execute("create table t(n)")
database.executemany("insert into t values (?)", [(1,), (2,)])
print(database.execute("select sum(n) from t").fetchone())
print(ElementTree.fromstring("<a><b>text</b></a>").findtext("b"))
archive = io.BytesIO()
with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
    file.writestr("a.txt", "a" * 1000)
print(zipfile.ZipFile(archive).read("a.txt").count(b"a"), zlib.crc32(b"a"))
print(hashlib.sha256(b"").hexdigest()[:8], decimal.Decimal("0.1") + decimal.Decimal("0.2"), fractions.Fraction(1, 3))
print(list(csv.reader(io.StringIO('a,"b,c"'))), tomllib.loads("a = 1"), statistics.median([3, 1, 2]))
print(len({random.random() for _ in range(9)}), uuid.uuid4().version, re.sub(r"\d", "#", "a1"))
print(unittest.TextTestRunner(io.StringIO()).run(unittest.TestLoader().loadTestsFromTestCase(Tests)).wasSuccessful())
