"""How fail2ban itself counts and for how long it bans: for the tests that compare our counting with it.

usage: python3 counting.py PACKAGES < QUESTIONS > ANSWERS

PACKAGES is the directory that holds the package `fail2ban`. Questions and answers are lines of words:

    jail MAXRETRY FINDTIME INCREMENT    a new jail, which knows nobody; no answer
    failure ID SECONDS                  answer: 1 for a ban or 0, and how many are counted
    forget SECONDS                      time has passed; answer: how many are counted
    growth BANTIME OPTIONS              a JSON object of bantime.* options; no answer
    bantime COUNT                       answer: seconds of the ban after COUNT earlier ones

Nothing is started: the failure manager, the observer and the jail's arithmetic are asked directly, in the
order in which the filter's thread and the observer's would, if the observer were never late.
"""

import json
import logging
import sys

sys.path.insert(0, sys.argv[1])
logging.disable(logging.CRITICAL)

from fail2ban.server.failmanager import FailManager, FailManagerEmpty  # noqa: E402
from fail2ban.server.jail import Jail as RealJail  # noqa: E402
from fail2ban.server.observer import ObserverThread  # noqa: E402
from fail2ban.server.ticket import FailTicket  # noqa: E402


class Jail:
    """What the observer wants of a jail, its filter and its database."""

    name = "jail"

    def __init__(self, max_retry, find_time, increment):
        self.filter = self
        self.database = self
        self.failManager = FailManager()
        self.failManager.setMaxRetry(max_retry)
        self.failManager.setMaxTime(find_time)
        self.increment = increment
        self.bans = {}
        self.banned = False

    def isAlive(self):
        return True

    def getBanTimeExtra(self, _option):
        return self.increment

    def getBan(self, who, _jail):
        return [self.bans[who]] if who in self.bans else []

    def performBan(self, who):
        try:
            ticket = self.failManager.toBan(who)
        except FailManagerEmpty:
            return
        count = self.bans.get(who, (0, 0, 0))[0]
        self.bans[who] = (count + 1, ticket.getTime(), 600)
        self.banned = True

    def failure(self, who, at):
        self.banned = False
        ticket = FailTicket(who, at, matches=["line"])
        if self.failManager.addFailure(ticket) >= self.failManager.getMaxRetry():
            self.performBan(who)
        ObserverThread.failureFound(None, self, ticket)
        return self.banned


class Growing:
    """The part of a jail that works out ban times."""

    name = "jail"
    database = True
    setBanTimeExtra = RealJail.setBanTimeExtra

    def __init__(self, options):
        self._banExtra = {}
        for option, value in options.items():
            self.setBanTimeExtra(option, value)

    def ban_time(self, seconds, count):
        return self._banExtra["evformula"](ObserverThread.BanTimeIncr(seconds, count))


jail, growing, seconds = None, None, 0
for line in sys.stdin:
    word, *rest = line.split(" ", 2 if line.startswith("growth ") else -1)
    if word == "jail":
        jail = Jail(int(rest[0]), int(rest[1]), rest[2].strip() == "1")
    elif word == "failure":
        banned = jail.failure(rest[0], float(rest[1]))
        print(int(banned), jail.failManager.size())
    elif word == "forget":
        jail.failManager.cleanup(float(rest[0]))
        print(jail.failManager.size())
    elif word == "growth":
        seconds, growing = int(rest[0]), Growing(json.loads(rest[1]))
    elif word == "bantime":
        print(growing.ban_time(seconds, int(rest[0])))
