"""Reads a log with the filter classes of fail2ban itself, one jail after the other, for comparison.

usage: python3 lines.py DIR-OF-PYTHON-PACKAGES CONFIG-DIR LOG-FILE JAIL...

Only what happens between a line and the failures in it is timed: reading the file, the start of Python and
the configuration are not. Prints one line for each jail: its name, lines, failures, CPU seconds.
"""
import logging
import sys
import time

sys.path.insert(0, sys.argv[1])
logging.disable(logging.CRITICAL)

from fail2ban.client.jailreader import JailReader  # noqa: E402
from fail2ban.server.filter import Filter  # noqa: E402


def filter_of(config, jail):
    reader = JailReader(jail, force_enable=True, basedir=config)
    reader.read()
    reader.getOptions()
    found = Filter(None)
    found.setUseDns("no")
    found.checkFindTime = False
    found.inOperation = True
    for command in reader.convert(allow_no_files=True):
        if command[0] == "multi-set":
            option, values = command[2], command[3]
        else:
            option, values = command[2], command[3:]
        if option == "prefregex":
            found.prefRegex = values[0]
        elif option == "addfailregex":
            for value in values:
                found.addFailRegex(value)
        elif option == "addignoreregex":
            for value in values:
                found.addIgnoreRegex(value)
        elif option == "datepattern":
            found.setDatePattern(values[0])
        elif option == "maxlines":
            found.setMaxLines(values[0])
    return found


def main():
    config, log, jails = sys.argv[2], sys.argv[3], sys.argv[4:]
    with open(log, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for jail in jails:
        found = filter_of(config, jail)
        failures = 0
        begin = time.process_time()
        for line in lines:
            failures += len(found.processLine(line))
        seconds = time.process_time() - begin
        print(jail, len(lines), failures, f"{seconds:.3f}", flush=True)


main()
