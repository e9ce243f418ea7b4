#!/usr/bin/env python3
"""The checks themselves: each must find what it is for. A check that cannot fail is worse than none."""

import pathlib
import tempfile
import unittest

import tidy


class TidyTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name).resolve()
        self.real_root, tidy.ROOT = tidy.ROOT, self.root
        tidy.findings.clear()

    def tearDown(self):
        tidy.ROOT = self.real_root
        self.folder.cleanup()

    def file(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path, tidy.code_lines(path)

    def found(self):
        return "\n".join(tidy.findings)

    def test_libuv_outside_the_server_is_found(self):
        tidy.check_includes(*self.file("broker/log/src/a.cpp", "#include <uv.h>\n"))
        self.assertIn("broker/log/src/a.cpp:1: <uv.h>", self.found())

    def test_libuv_in_the_server_is_fine(self):
        tidy.check_includes(*self.file("broker/server/src/a.cpp", "#include <uv.h>\n"))
        self.assertEqual(tidy.findings, [])

    def test_an_arrow_up_is_found(self):
        tidy.check_includes(*self.file("broker/engine/src/a.cpp", '#include "ferry/log/commit_log.hpp"\n'))
        tidy.check_includes(*self.file("transport/src/b.cpp", '#include "ferry/server/config.hpp"\n'))
        self.assertEqual(len(tidy.findings), 2)

    def test_a_clock_a_thread_and_dice_in_the_engine_are_found(self):
        tidy.check_engine(*self.file("broker/engine/src/a.cpp", (
            "auto t = std::chrono::steady_clock::now();\nstd::mutex m;\nint x = rand();\n")))
        self.assertEqual(len(tidy.findings), 3)

    def test_words_in_comments_are_not_code(self):
        tidy.check_engine(*self.file("broker/engine/src/a.cpp", "// no std::mutex here\n/* nor\n rand */\n"))
        self.assertEqual(tidy.findings, [])

    def test_a_walk_over_an_unordered_map_in_the_engine_is_found(self):
        tidy.check_engine(*self.file("broker/engine/src/a.cpp", (
            "std::unordered_map<int, int> by_id_;\nvoid f() {\n    for (auto& each : by_id_) use(each);\n}\n")))
        self.assertIn("walks over the unordered by_id_", self.found())

    def test_a_function_over_the_limit_is_found_at_its_line(self):
        body = "    x();\n" * tidy.FUNCTION_LINES_MAX
        for head in ("void f(int a) {\n", "Type Class::name(int a,\n                 int b) const {\n"):
            long = list(tidy.long_functions(*self.file("wire/src/a.cpp", "\n" + head + body + "}\n")))
            self.assertEqual(len(long), 1, head)
        method = "class C {\n    void m() {\n" + "        x();\n" * tidy.FUNCTION_LINES_MAX + "    }\n};\n"
        self.assertEqual(len(list(tidy.long_functions(*self.file("wire/src/b.cpp", method)))), 1)

    def test_a_short_function_is_not(self):
        body = "    x();\n" * (tidy.FUNCTION_LINES_MAX - 2)
        text = ("namespace a {\nvoid f(int a) {\n" + body + "}\n") * 3
        self.assertEqual(list(tidy.long_functions(*self.file("wire/src/a.cpp", text))), [])

    def test_a_todo_without_an_issue_is_found(self):
        tidy.check_words(*self.file("wire/src/a.cpp", "// TO" + "DO: later\n// TO" + "DO(#7): fine\n"))
        self.assertEqual(len(tidy.findings), 1)


if __name__ == "__main__":
    unittest.main()
