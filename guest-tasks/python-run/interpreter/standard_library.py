"""What scripts can import."""

import importlib

MODULES = """
abc argparse array ast asyncio atexit base64 binascii bisect calendar cmath cmd code codecs codeop collections
collections.abc colorsys concurrent.futures configparser contextlib contextvars copy copyreg csv dataclasses datetime
decimal difflib dis email email.message email.mime.multipart email.mime.text email.parser email.policy email.utils enum
errno fileinput fnmatch fractions functools gc getopt getpass gettext glob graphlib gzip hashlib heapq hmac html
html.entities html.parser http importlib importlib.metadata importlib.util inspect io ipaddress itertools json
json.decoder json.encoder keyword linecache locale logging logging.config logging.handlers marshal math mimetypes
numbers opcode operator optparse os os.path pathlib pickle pkgutil platform plistlib pprint queue quopri random re
reprlib runpy sched secrets selectors shelve shlex shutil signal site sqlite3 stat statistics string string.templatelib
stringprep struct symtable sys sysconfig tabnanny tarfile tempfile textwrap threading time timeit token tokenize tomllib
trace traceback tracemalloc types typing unicodedata unittest unittest.mock urllib urllib.error urllib.parse uuid
warnings weakref xml.dom.minidom xml.etree.ElementTree xml.sax xml.sax.saxutils zipfile zlib
""".split()

# Imported by others at their first use.
HIDDEN = "_strptime _pyrepl _colorize xml.sax.expatreader email.mime.base asyncio.taskgroups asyncio.timeouts".split()

ENCODINGS = """
ascii charmap cp437 cp850 cp1250 cp1251 cp1252 hex_codec base64_codec idna iso8859_1 iso8859_2 iso8859_15 koi8_r latin_1
mac_roman punycode quopri_codec raw_unicode_escape rot_13 unicode_escape utf_16 utf_16_be utf_16_le utf_32 utf_32_be
utf_32_le utf_7 utf_8 utf_8_sig zlib_codec
""".split()


def load() -> None:
    for name in MODULES + HIDDEN + ["encodings." + encoding for encoding in ENCODINGS]:
        importlib.import_module(name)
