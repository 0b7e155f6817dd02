"""Reads a whole history and judges what the vault promises. Pure: it sees nothing but the history."""

import bisect
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from simulation.history import (
    Announced,
    Answered,
    Ended,
    Ending,
    Fault,
    FinalGrant,
    Happened,
    History,
    Processed,
    Row,
    Said,
    Sent,
    Spooled,
    Unhandled,
    Written,
)
from simulation.provider import HABITS, Habit, Replay

from shared.envelope import fingerprint
from shared.messages import EventType
from shared.model import GrantId, GrantState, OnReuse, RefreshToken
from shared.secret import Secret

#: Seconds in which a reply that has arrived must be on disk: sealing it and one fsync.
FSYNC_SECONDS: Final = 0.1
#: Seconds for which a refresher must be gone until others may count its answer as lost.
TAKEOVER_SECONDS: Final = 120.0
#: Seconds that an enrolment's lease runs at least once its request is sent; then another may ask.
LEASE_LEFT_SECONDS: Final = 80.0
#: Seconds in which a lost answer is asked for again, if nothing else goes wrong: once its refresher is known
#: to be gone.
RECOVERY_SECONDS: Final = 100.0
#: Seconds that a process is stopped at most.
LONGEST_ABSENCE_SECONDS: Final = 300.0
#: Longer than a sign of life is heard, or takes to fail.
HEARD_SECONDS: Final = 60.0
#: Seconds by which a dispenser's idea of the time is off at most: its first look may have taken long.
CLOCK_ERROR_SECONDS: Final = 5.0
#: Life that is enough for an agent that does not say how much it wants.
ENOUGH_SECONDS: Final = 61.0
_CLIENT_CODES: Final = frozenset({"invalid_client", "unauthorized_client", "http_401"})
_STOPS: Final = ("killed", "paused")
_GOES_ON: Final = ("started", "resumed")
#: What ends what.
_ENDS: Final = {
    "store up": "store down",
    "bus up": "bus down",
    "cache up": "cache down",
    "provider up": "provider down",
    "client known": "client unknown",
}
_HABITS: Final = {habit.name: habit for habit in HABITS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was not kept."""

    #: Its number in the design; 0 for what all of them rest on.
    promise: int
    at: float
    what: str
    #: Grant, provider or process that it is about.
    about: str = ""

    def __str__(self) -> str:
        return f"promise {self.promise} at {self.at:.3f} s: {self.what}"


@dataclass(slots=True)
class Call:
    """A request to a provider, from first to last."""

    sent: Sent
    processed: Processed | None = None
    ended: Ended | None = None
    spooled: Spooled | None = None

    @property
    def issued(self) -> bool:
        return self.processed is not None and self.processed.result == "issued"

    @property
    def child(self) -> str:
        """The refresh token it brought in place of the one it redeemed; empty for none."""
        child = self.processed.child if self.processed else ""
        return "" if child == self.sent.token else child

    @property
    def safe(self) -> bool:
        """Its answer is durably in a spool."""
        return self.spooled is not None and self.spooled.durable


class Evidence:
    """A history, put in order for the judges."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.ending = next(history.of(Ending))
        self.written = list(history.of(Written))
        self.calls = _calls(history)

    @cached_property
    def down(self) -> dict[str, list[tuple[float, bool]]]:
        """By process: when it stopped (True) and when it ran again."""
        turns: dict[str, list[tuple[float, bool]]] = defaultdict(list)
        for event in self.history.of(Happened):
            if event.what in _STOPS:
                turns[event.process].append((event.at, True))
            elif event.what in _GOES_ON:
                turns[event.process].append((event.at, False))
        return turns

    @cached_property
    def troubled(self) -> bool:
        """Something went wrong at some time."""
        harmless = ("started", "healing", "cache flushed")
        faults = any(True for _ in self.history.of(Fault))
        return faults or any(event.what not in harmless for event in self.history.of(Happened))

    @cached_property
    def troubles(self) -> list[tuple[float, float]]:
        """When things went wrong, from when until when. What one process of a role does not do, others do."""
        spans = [(event.at, event.at) for event in self.history.of(Fault)]
        since: dict[str, float] = {}
        down: set[str] = set()
        for event in self.history.of(Happened):
            if event.what in _STOPS:
                down.add(event.process)
            elif event.what in _GOES_ON:
                down.discard(event.process)
            begun, ended = self._turned(event, down)
            if begun:
                since.setdefault(begun, event.at)
            if ended in since:
                spans.append((since.pop(ended), event.at))
        return sorted(spans + [(began, self.ending.at) for began in since.values()])

    def _turned(self, event: Happened, down: set[str]) -> tuple[str, str]:
        """Which trouble begins with an event, and which ends with it; empty for none."""
        if event.process:
            role = event.process.partition("-")[0]
            return (role, "") if all(name in down for name in self._named(role)) else ("", role)
        return (event.what if event.what in _ENDS.values() else "", _ENDS.get(event.what, ""))

    def _named(self, role: str) -> set[str]:
        started = (event for event in self.history.of(Happened) if event.what == "started")
        return {event.process for event in started if event.process.startswith(role)}

    def calm_seconds(self, since: float, until: float) -> float:
        """The longest time in which nothing went wrong, between two moments."""
        longest = 0.0
        for began, ended in self.troubles:
            longest = max(longest, min(began, until) - since)
            since = max(since, ended)
        return max(longest, until - since)

    @cached_property
    def claims(self) -> dict[str, Written]:
        """What began each intent."""
        return {event.cause: event for event in self.written if event.what == "claim"}

    def stopped_within(self, process: str, since: float, until: float) -> bool:
        """It was killed or paused between two moments."""
        return any(stopped and since <= at <= until for at, stopped in self.down.get(process, ()))

    def is_down(self, process: str, moment: float) -> bool:
        """It neither ran nor had just come back."""
        turns = self.down.get(process, [])
        place = bisect.bisect_right(turns, (moment, True)) - 1
        return place >= 0 and turns[place][1]

    def over_at(self, call: Call) -> float:
        """When its process had nothing to do with it any more."""
        if call.ended is not None:
            return call.ended.at
        killed = [
            event.at
            for event in self.history.of(Happened)
            if event.what == "killed" and event.process == call.sent.process and event.at >= call.sent.at
        ]
        return min(killed, default=float("inf"))


Judge = Callable[[Evidence], Iterator[Violation]]


def violations(history: History) -> list[Violation]:
    """Every promise that this history breaks, in the order of time."""
    evidence = Evidence(history)
    found = itertools.chain.from_iterable(judge(evidence) for judge in JUDGES)
    return sorted(found, key=lambda violation: violation.at)


# --------------------------------------------------------------------------------------- 1: one at a time


def never_twice_at_once(evidence: Evidence) -> Iterator[Violation]:
    """Documented exceptions: a process that was paused for longer than its lease ran; and inside a grace,
    which ends before anybody could be sure, a refresher whose signs of life the cache has lost; and what is
    not used up, where an enrolment's refresher comes back with the answer that another asks for anew."""
    for calls in _by_token(evidence).values():
        for one, other in itertools.combinations(calls, 2):
            first, second = sorted((one, other), key=lambda call: call.sent.at)
            if evidence.over_at(first) <= second.sent.at or _paused(evidence, first, second):
                continue
            if _unheard(evidence, first, second) or _came_back(evidence, first, second):
                continue
            yield Violation(
                promise=1,
                at=second.sent.at,
                what=f"{first.sent.token} is in two requests at once (calls {first.sent.call} of "
                f"{first.sent.process} and {second.sent.call} of {second.sent.process})",
                about=first.sent.provider,
            )


def asked_once_when_all_is_well(evidence: Evidence) -> Iterator[Violation]:
    """However many agents ask."""
    if evidence.troubled:
        return
    seen: dict[tuple[GrantId, int], Call] = {}
    for call in evidence.calls.values():
        claim = evidence.claims.get(call.sent.entry)
        if claim is None or claim.before is None:
            continue
        rotation = (claim.grant, claim.before.generation)
        if rotation in seen:
            yield Violation(
                promise=1,
                at=call.sent.at,
                what=f"{claim.grant} is refreshed twice at generation {rotation[1]}",
                about=claim.grant,
            )
        seen[rotation] = call


# -------------------------------------------------------------------------------- 2: nothing safe is lost


def what_is_spooled_takes_effect(evidence: Evidence) -> Iterator[Violation]:
    """Committed, or kept for people where the grant was connected anew, or on its way back to the provider
    where it was revoked."""
    ends = ("commit", "park", "hand back", "connect")
    ended = {event.cause for event in evidence.written if event.what in ends}
    for call in evidence.calls.values():
        claim = evidence.claims.get(call.sent.entry)
        if claim is None or not (call.safe and call.issued and _answered(call)):
            continue
        stored = fingerprint(claim.grant, RefreshToken(value=Secret(call.child))) if call.child else None
        elsewhere = any(e.after is not None and e.after.fingerprint == stored for e in evidence.written)
        if call.sent.entry not in ended and call.child and not elsewhere:
            yield Violation(
                promise=2,
                at=call.sent.at,
                what=f"the answer to call {call.sent.call} was durable, and what it brought is nowhere",
                about=claim.grant,
            )


def spent_tokens_are_redeemed_again_only_after_a_loss(evidence: Evidence) -> Iterator[Violation]:
    """The window of a strict provider: from its commit until the answer is on disk."""
    for calls in _by_token(evidence).values():
        issued = next((call for call in calls if call.issued), None)
        habit = _HABITS[calls[0].sent.provider]
        if issued is None or not habit.strict:
            continue
        for call in calls:
            again = call is not issued and call.sent.at > issued.sent.at
            excused = _lost_by_then(evidence, issued, call.sent.at) or _held_back(evidence, call)
            if again and not excused:
                yield Violation(
                    promise=2,
                    at=call.sent.at,
                    what=f"call {call.sent.call} redeems {call.sent.token} again, though the answer to call "
                    f"{issued.sent.call} was at hand",
                    about=call.sent.provider,
                )


def grants_are_lost_in_the_window_alone(evidence: Evidence) -> Iterator[Violation]:
    """And never at a provider with a grace window or without rotation."""
    for grant in evidence.ending.grants:
        if grant.row.state is GrantState.REVOKED or (
            grant.redeemable and grant.row.state is GrantState.ACTIVE
        ):
            continue
        if not _excused(evidence, grant):
            yield Violation(
                promise=2,
                at=evidence.ending.at,
                what=f"{grant.id} at {grant.provider} is lost ({grant.row.state}, {grant.row.last_error})",
                about=grant.id,
            )


def losses_are_told_of(evidence: Evidence) -> Iterator[Violation]:
    """By state, event and audit record."""
    announced = {
        event.place for event in evidence.history.of(Announced) if event.type is EventType.REAUTH_REQUIRED
    }
    for grant in evidence.ending.grants:
        lost = grant.row.state is GrantState.REAUTH_REQUIRED
        if lost and grant.place not in announced:
            yield _silent(evidence, grant, "event")
        if lost and not any(reason == "reauth_required" for _, _, reason in grant.audit):
            yield _silent(evidence, grant, "audit record")


# -------------------------------------------------------------------------------------- 3: no stale write


def generations_never_go_back(evidence: Evidence) -> Iterator[Violation]:
    """And move on with a new token alone."""
    for event in evidence.written:
        if event.before is None or event.after is None:
            continue
        step = event.after.generation - event.before.generation
        moved = event.what in ("commit", "connect")
        if (step < 1) if moved else (step != 0 or event.after.fingerprint != event.before.fingerprint):
            yield Violation(
                promise=3,
                at=event.at,
                what=f"a {event.what} moved the generation by {step}",
                about=event.grant,
            )


def credentials_follow_from_each_other(evidence: Evidence) -> Iterator[Violation]:
    """A rotation replaces the credential that it redeemed, and keeps it where it brought no other."""
    by_entry = {call.sent.entry: call for call in evidence.calls.values()}
    for event in evidence.written:
        call = by_entry.get(event.cause)
        if event.what != "commit" or call is None or not call.sent.token:
            continue
        if not _follows(event.grant, event.before, event.after, call):
            yield Violation(
                promise=3,
                at=event.at,
                what=f"the answer to call {call.sent.call} was written over a credential it did not redeem",
                about=event.grant,
            )


# ------------------------------------------------------------------------ 4: refusals, and whose they are


def only_dead_credentials_ask_for_the_owner(evidence: Evidence) -> Iterator[Violation]:
    """A refusal counts against the credential that was refused."""
    by_entry = {call.sent.entry: call for call in evidence.calls.values()}
    for event in evidence.written:
        if event.what != "fail" or event.after is None:
            continue
        if event.detail in _CLIENT_CODES:
            yield Violation(
                promise=4, at=event.at, what=f"{event.detail} was held against a grant", about=event.grant
            )
        dead = event.after.state is GrantState.REAUTH_REQUIRED
        if dead and not _refused(by_entry.get(event.cause), event.grant, event.after):
            yield Violation(
                promise=4,
                at=event.at,
                what="an owner is asked for consent though the provider refused no credential of the grant",
                about=event.grant,
            )


# ---------------------------------------------------------------------------------------- 5 and 6: agents


def cached_tokens_are_served(evidence: Evidence) -> Iterator[Violation]:
    """Whatever is down."""
    for answer in evidence.history.of(Answered):
        wanted = ENOUGH_SECONDS if answer.min_ttl is None else answer.min_ttl
        life = answer.cached_life
        if life is not None and life >= wanted and answer.code != "ok" and not answer.journal_failed:
            yield Violation(
                promise=5,
                at=answer.at,
                what=f"{answer.code}, though the cache had a token for {life:.0f} s more",
                about=answer.place[0],
            )


def what_is_handed_out_is_good(evidence: Evidence) -> Iterator[Violation]:
    """A provider issued it for this service, it had not ended when it was asked for, and it is audited."""
    issued = {call.processed.access_token for call in evidence.calls.values() if call.processed}
    for answer in evidence.history.of(Answered):
        if answer.code != "ok":
            continue
        ours = answer.token in issued or answer.token.split(":")[2] == "0"
        ours = ours and answer.token.split(":")[1] == answer.place[0]
        life = answer.remaining
        ended = life is not None and life + answer.at - answer.asked_at <= -CLOCK_ERROR_SECONDS
        if not ours or not answer.audited or ended:
            yield Violation(
                promise=6, at=answer.at, what="a bad or unaudited token was handed out", about=answer.place[0]
            )


# ---------------------------------------------------------------------------------------------- all of it


def everything_settles(evidence: Evidence) -> Iterator[Violation]:
    """Once nothing goes wrong any more."""
    for what in evidence.ending.unsettled:
        yield Violation(promise=0, at=evidence.ending.at, what=f"it never settles: {what}")


def nothing_crashes(evidence: Evidence) -> Iterator[Violation]:
    """Whatever the world does is expected."""
    for event in evidence.history.of(Unhandled):
        yield Violation(promise=0, at=event.at, what=f"nobody caught {event.error}", about=event.process)
    for said in evidence.history.of(Said):
        if said.text.startswith("Unexpected error"):
            yield Violation(promise=0, at=said.at, what=said.text, about=said.process)


JUDGES: Final[tuple[Judge, ...]] = (
    never_twice_at_once,
    asked_once_when_all_is_well,
    what_is_spooled_takes_effect,
    spent_tokens_are_redeemed_again_only_after_a_loss,
    grants_are_lost_in_the_window_alone,
    losses_are_told_of,
    generations_never_go_back,
    credentials_follow_from_each_other,
    only_dead_credentials_ask_for_the_owner,
    cached_tokens_are_served,
    what_is_handed_out_is_good,
    everything_settles,
    nothing_crashes,
)


def _calls(history: History) -> dict[int, Call]:
    calls: dict[int, Call] = {}
    for event in history.events:
        match event:
            case Sent(call=number):
                calls[number] = Call(event)
            case Processed(call=number):
                calls[number].processed = event
            case Ended(call=number):
                calls[number].ended = event
            case Spooled(call=number) if number in calls:
                calls[number].spooled = event
    return calls


def _by_token(evidence: Evidence) -> dict[str, list[Call]]:
    by_token: dict[str, list[Call]] = defaultdict(list)
    for call in evidence.calls.values():
        if call.sent.token:
            by_token[call.sent.token].append(call)
    return by_token


def _paused(evidence: Evidence, first: Call, second: Call) -> bool:
    senders, since = (first.sent.process, second.sent.process), first.sent.at - 300.0
    return any(
        event.what == "paused" and since <= event.at <= second.sent.at and event.process in senders
        for event in evidence.history.of(Happened)
    )


def _unheard(evidence: Evidence, first: Call, second: Call) -> bool:
    """The cache failed the first one's refresher, and a second request does no harm."""
    if not _HABITS[first.sent.provider].rotation.grace_seconds:
        return False
    since, until = first.sent.at - HEARD_SECONDS, second.sent.at
    failed = (
        f.at for f in evidence.history.of(Fault) if f.port == "cache" and f.process == first.sent.process
    )
    flushed = (event.at for event in evidence.history.of(Happened) if event.what == "cache flushed")
    return any(since <= at <= until for at in (*failed, *flushed))


def _came_back(evidence: Evidence, first: Call, second: Call) -> bool:
    """The enrolment that the first one is for was connected meanwhile by a refresher that had asked before,
    and was away for longer than its lease ran."""
    if _HABITS[first.sent.provider].rotation.rotates:
        return False
    entry, now = first.sent.entry, first.sent
    meanwhile = [w for w in evidence.written if w.cause == entry and now.at <= w.at <= second.sent.at]
    connected = {w.process for w in meanwhile if w.what == "connect"}
    return any(
        before.sent.entry == entry
        and before.sent.process in connected - {now.process}
        and before.sent.at + LEASE_LEFT_SECONDS < now.at
        and evidence.stopped_within(before.sent.process, before.sent.at, now.at)
        for before in evidence.calls.values()
    )


def _answered(call: Call) -> bool:
    return call.ended is not None and call.ended.how == "answered"


def _lost_by_then(evidence: Evidence, call: Call, moment: float) -> bool:
    """The answer of a call that was carried out was out of reach, for a reason that the design allows."""
    if _given_up(evidence, call, moment):
        return True
    if call.spooled is None or call.spooled.at > moment or not (call.safe and _answered(call)):
        return _in_the_window(evidence, call)
    # It is on the disk of a process that is not there.
    stopped = evidence.stopped_within(call.sent.process, call.spooled.at, moment)
    leased = call.sent.entry.startswith("enrolment")
    over_at = call.sent.at + LEASE_LEFT_SECONDS if leased else call.spooled.at + TAKEOVER_SECONDS
    return stopped and moment > over_at


def _given_up(evidence: Evidence, call: Call, moment: float) -> bool:
    """Documented exception: its process was stopped for longer than its lease ran, before it sent or after,
    and others had stopped waiting when it went on and the answer reached the disk after all."""
    claim = evidence.claims.get(call.sent.entry)
    since = call.sent.at if claim is None else claim.at
    over = [e.at for e in evidence.written if e.cause == call.sent.entry and e.detail == "holder_gone"]
    return any(
        since + TAKEOVER_SECONDS < at <= moment and evidence.stopped_within(call.sent.process, since, at)
        for at in over
    )


def _held_back(evidence: Evidence, call: Call) -> bool:
    """Documented exception: its process was paused between its claim, or its lease, and its request."""
    claim = evidence.claims.get(call.sent.entry)
    since = call.sent.at - LONGEST_ABSENCE_SECONDS if claim is None else claim.at
    return evidence.stopped_within(call.sent.process, since, call.sent.at)


def _in_the_window(evidence: Evidence, call: Call) -> bool:
    """The answer was lost on its way, or with its process before the disk had it, or the disk failed."""
    if call.ended is None:
        return True
    if call.ended.how in ("lost", "unusable", "not sent"):
        return True
    if call.ended.how == "cancelled":
        return False
    if call.spooled is not None and not call.spooled.durable:
        return True
    return evidence.stopped_within(call.sent.process, call.ended.at, call.ended.at + FSYNC_SECONDS)


def _excused(evidence: Evidence, grant: FinalGrant) -> bool:
    habit = _HABITS[grant.provider]
    ours = [call for call in evidence.calls.values() if _family(call.sent.token) == _family(grant.token)]
    if not (habit.strict or _forgetful(habit)):
        return any(_grace_was_too_short(evidence, call, habit.rotation.grace_seconds) for call in ours)
    return any(_held_back(evidence, call) or _lost(evidence, call, ours, habit) for call in ours)


def _family(token: str) -> str:
    return token.rpartition(".")[0]


def _lost(evidence: Evidence, call: Call, ours: list[Call], habit: Habit) -> bool:
    """What a call brought never came, or came when others had had the whole family revoked."""
    if not call.issued or not (call.safe and _answered(call)):
        return call.issued and _in_the_window(evidence, call)
    again = [other.sent.at for other in ours if other is not call and other.sent.token == call.sent.token]
    revoked = habit.rotation.on_reuse is OnReuse.REVOKE_FAMILY
    return revoked and any(_lost_by_then(evidence, call, moment) for moment in again if moment > call.sent.at)


def _grace_was_too_short(evidence: Evidence, call: Call, grace_seconds: float) -> bool:
    """To recover in, for other things went wrong all the while."""
    if call.processed is None or not call.issued:
        return False
    began = call.processed.at
    return evidence.calm_seconds(began, began + grace_seconds) < RECOVERY_SECONDS


def _forgetful(habit: Habit) -> bool:
    """It takes a spent token within its grace window and does not repeat the new one."""
    return habit.replay is Replay.NONE and habit.rotation.rotates


def _silent(evidence: Evidence, grant: FinalGrant, what: str) -> Violation:
    return Violation(
        promise=2, at=evidence.ending.at, what=f"{grant.id} is lost without an {what}", about=grant.id
    )


def _follows(grant: GrantId, before: Row | None, after: Row | None, call: Call) -> bool:
    if before is None or after is None:
        return False
    redeemed = fingerprint(grant, RefreshToken(value=Secret(call.sent.token)))
    brought = fingerprint(grant, RefreshToken(value=Secret(call.child))) if call.child else redeemed
    return before.fingerprint == redeemed and after.fingerprint == brought


def _refused(call: Call | None, grant: GrantId, row: Row) -> bool:
    if call is None or call.processed is None or call.processed.result != "invalid_grant":
        return False
    return fingerprint(grant, RefreshToken(value=Secret(call.sent.token))) == row.fingerprint
