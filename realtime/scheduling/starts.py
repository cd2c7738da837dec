"""When a listener who hears nothing yet gets the first sound: at once, or a little later, so that what follows is there in time.

A jitter buffer in the service, as long as it must be and no longer. An engine hardly faster than speech makes its first chunk well
within the first-audio budget and its second too late for a listener who began with the first; a wait of a tenth of a second before
the first word costs less than a change of voice after it. Engines that are ahead at once wait for nothing.

    dispatch ---- first chunk ---- held ----> begins                                   first-audio deadline
                       |<--- lag + reserve --->|<-- first chunk -->| second chunk is there

The start buffer is not counted on: it covers the network, and some clients play what comes as it comes.
"""

from __future__ import annotations

from realtime.scheduling.desk import Desk
from realtime.scheduling.handover import surely_at
from realtime.scheduling.streams import HELD_BACK_S, JobState, Run, Stream

LIKELY = 0.9  # share of the runs whose lag is waited for; the others are what handovers are for


def begins_at(stream: Stream, desk: Desk, unsent_s: float, now: float) -> float:
    """The moment from which on the `unsent_s` seconds of sound that are there should go out to a listener who waits for the first of a
    burst: `now` or earlier for at once."""
    playout, rules = stream.playout, desk.settings.handover
    latest = playout.next_deadline() - rules.commit_s
    if playout.has_started() or now >= latest:
        return now
    jobs = [job for job in stream.active.values() if job.state is not JobState.DONE]
    if not jobs or jobs[0].state is not JobState.RUNNING:
        return now  # all there is is complete, or its voice is being settled: the scheduler reckons with what goes out
    run = jobs[0].leader
    assert run is not None, "a running segment has a leader"
    if run.audio_s == 0 and stream.unsent_s == 0:
        return now  # what there is was recalled, and recalled sound is promised at once
    as_much_again_s = run.audio_s * desk.rates.rtf(run.worker_id, run.level, desk.jobs_on(run))
    if 0 < as_much_again_s <= playout.start_buffer_s and not desk.fleet.sickness(now):
        return now  # it is there soon enough, unless workers fall ill: then something in hand is worth a tenth of a second
    before_s = max(0.0, unsent_s - run.base_s - run.audio_s)
    return min(latest, _first_follows_at(run, desk) - before_s + HELD_BACK_S + _reserve_s(stream, run, desk))


def _first_follows_at(run: Run, desk: Desk) -> float:
    """When a listener must come to the run's beginning at the earliest, so as to miss nothing of it."""
    rates, jobs = desk.rates, desk.jobs_on(run)
    if run.audio_s == 0:
        return surely_at(run, rates, jobs, LIKELY)
    return run.first_at + rates.lag_s(run.worker_id, run.level, jobs, LIKELY)


def _reserve_s(stream: Stream, run: Run, desk: Desk) -> float:
    """So long before silence a race with the next engine would begin, which is not to happen at every start."""
    chain, rules = stream.spec.chain, desk.settings.handover
    following = next((engine for engine in chain[chain.index(run.engine) + 1 :] if desk.fleet.has(engine)), None)
    return rules.margin_s + rules.commit_s + desk.rates.first_chunk_p99_s(following) if following else 0.0
