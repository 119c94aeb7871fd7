"""Where the tests find what they read: the checkout, its scripts, stored files, published data."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SCRIPTS = ROOT / "scripts"
EXAMPLES = SCRIPTS / "examples"
STORED = TESTS / "surrogates" / "model" / "stored"  # surrogate files of older versions
PUBLISHED = ROOT.parent / "shared" / "data" / "CDR_Data.mat"
