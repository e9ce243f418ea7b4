"""Runs the examples of the documentation's pages: what the pages show is what happens.

An example is an indented line `$ command`; the indented lines behind it are what the command prints.
"""
import glob
import os
import re
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))
from broker import Broker  # noqa: E402

DOCS = os.path.join(HERE, "..", "..", "..", "docs")
PAGES = ("ordering.md", "retries.md", "time.md", "transactions.md", "limits.md", "priorities.md", "dedupe.md", "policies.md",
         "operations.md", "checkback.md", "locks.md", "calls.md", "services.md", "security.md", "overload.md", "chaos.md")


def examples(path):
    """[(line number, command, expected output)] of a page."""
    found = []
    with open(path, encoding="utf-8") as page:
        for number, line in enumerate(page, 1):
            if line.startswith("    $ "):
                found.append((number, line[6:].rstrip("\n"), ""))
            elif line.startswith("    ") and found and found[-1] is not None:
                number, command, output = found.pop()
                found.append((number, command, output + line[4:]))
            elif found and found[-1] is not None:
                found.append(None)
    return [example for example in found if example is not None]


class Pages(unittest.TestCase):
    def test_examples_print_what_the_pages_show(self):
        for page in PAGES:
            broker = Broker(os.environ["FERRYD"]).start()
            self.addCleanup(broker.end)
            environment = dict(os.environ, FERRY_URL=broker.url)
            environment["PATH"] = os.path.dirname(os.environ["FERRY"]) + ":" + environment["PATH"]
            steps = examples(os.path.join(DOCS, page))
            self.assertGreater(len(steps), 3, page)
            with tempfile.TemporaryDirectory() as scratch:
                for number, command, expected in steps:
                    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                          env=environment, cwd=scratch, timeout=60)
                    where = f"{page}:{number}: {command}\n{done.stderr.decode()}"
                    self.assertEqual(done.returncode, 0, where)
                    pattern = "".join(".*" if part == "…" else re.escape(part)
                                      for part in re.split("(…)", expected))
                    self.assertRegex(done.stdout.decode(), "^" + pattern + "$", where)

    def test_every_page_with_examples_is_run(self):
        for path in glob.glob(os.path.join(DOCS, "*.md")):
            # Kafka's page is run by tests/integration/kafka.
            if examples(path) and os.path.basename(path) != "kafka.md":
                self.assertIn(os.path.basename(path), PAGES)


if __name__ == "__main__":
    unittest.main(verbosity=2)
