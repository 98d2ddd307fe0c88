# The other side of the differential test: asks the classes of an unpacked fail2ban what becomes of the lines
# of a log. One case per line of standard input, one answer per line of standard output, both JSON.
#
# It starts nothing, looks up no names and is never installed; PYTHONPATH says where fail2ban is.
import json
import os
import signal
import sys
import time

from fail2ban.client.fail2banregex import Fail2banRegex, get_opt_parser
from fail2ban.server.filter import FileContainer
from fail2ban.server.ipdns import DNSUtils
from fail2ban.server.mytime import MyTime

# A case that takes longer has met an expression that backtracks for ever.
SECONDS_MAX = 30

DNSUtils.dnsToIp = staticmethod(lambda name: set())


def plain(value):
    """A value of a failure as JSON: an address as text, several accounts in order."""
    if isinstance(value, (set, frozenset)):
        return sorted(str(member) for member in value)
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    return None if value is None else str(value)


def found(regex, fid, date, fail, *_):
    data = {key: plain(value) for key, value in fail.items() if key not in ("matches", "nofail-matches")}
    matches = ["".join(part or "" for part in line) for line in fail.get("matches", [])]
    return {
        "failregex": regex,
        "id": plain(fid),
        "at": date,
        "is_nofail": bool(fail.get("nofail")),
        "data": data,
        "matches": matches,
    }


def answer(case):
    MyTime.setTime(case["now"])
    options = ["-c", case["config"], "-e", case["encoding"], *case["options"]]
    if not case["every"]:
        options += ["-o", "row"]
    (options, _) = get_opt_parser().parse_args(options)
    test = Fail2banRegex(options)
    if not test.readRegex(case["filter"], "fail"):
        return {"error": "the filter can not be read"}
    lines = []
    for line in FileContainer(case["log"], case["encoding"], doOpen=True):
        line = line.rstrip("\r\n")
        if line.startswith("#") or not line:
            continue
        try:
            _, matches, is_ignored = test.testRegex(line)
            lines.append({"found": [found(*match) for match in matches or []], "is_ignored": bool(is_ignored)})
        except Exception as error:  # whatever a line does to it is an answer, too
            lines.append({"error": repr(error)})
    return {"lines": lines}


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    asked, answers = sys.stdin, sys.stdout
    # What the classes print is not for us.
    sys.stdout = open(os.devnull, "w")
    while case := asked.readline():
        # A process for each case: the classes keep counts of formats of dates for all filters together.
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS_MAX)
            try:
                result = answer(json.loads(case))
            except Exception as error:
                result = {"error": repr(error)}
            answers.write(json.dumps(result) + "\n")
            answers.flush()
            os._exit(0)
        (_, status) = os.waitpid(child, 0)
        if status != 0:
            answers.write(json.dumps({"hung": True}) + "\n")
            answers.flush()
