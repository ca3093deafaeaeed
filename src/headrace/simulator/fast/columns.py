"""Where each figure stands in the arrays of the state: `s.of[replica, c.DUE]`.

Few wide arrays instead of many narrow ones: what a step needs of a replica lies together, and
numba compiles functions of thirty arrays three times as fast as functions of eighty.
"""

from __future__ import annotations

NOW_S, PICKER_FREE_S, CLIENT_FREE_S, WARM_S, PICK_S, GATEWAY_CHUNK_S, CLIENT_CHUNK_S = range(7)
TURNAROUND_S, RETRY_S, REFUSED_S, STALE_S, BOUND, LATENCY_S, STATE_BYTES = range(7, 14)
TOKEN_BYTES, BYTES_S, THINK_S = 14, 15, 16
SECONDS = 17
"""`seconds`: clocks and settings of the whole fleet."""

SENT, PLANNED, HEAP, HELD, UNSENT, WARM_LEFT, CLOSED, LANES, POLICY, GATEWAYS = range(10)
WORKERS, PER_CONNECTION, ATTEMPTS, TRANSFER, GROUPS, CACHED_GROUPS = range(10, 16)
LIMIT, TALKS, SHARED_TOKENS = 16, 17, 18
AHEAD, AHEAD_ACCEPTED, AHEAD_STOPPED = 19, 20, 21
COUNTS = 22
"""`counts`: counters and settings of the whole fleet. AHEAD is the replica whose step has its
tokens already though it ends with the next event, or -1; the next two are what `finish.decode` is
to know of it."""

SEQS, BATCHED, MODEL_LEN, PAGES, PAGE_TOKENS, TOKEN_GROUPS = range(6)
STATE_PAGES, DRAFTED, INTERVAL, DECIDED = range(6, 10)
"""`limits[model]`; DECIDED is `steps_ahead`."""

ALIVE, DUE, MODEL_OF, IN_FLIGHT, QUEUE_HEAD, QUEUE_TAIL, STEP_HEAD, FREE_PAGES = range(8)
DECODING, STEP_DECODING, STEP_PROMPTS, STEP_PROMPT_TOKENS = range(8, 12)
CONTEXT, GROWING, PARTIAL, STEP_TAIL = range(12, 16)
KEYS, _SECOND_KEY, STEPS, GENERATED, DECODED, PROMPTS = range(16, 22)
PARTIAL_COMPUTED, PARTIAL_ROOM, PREEMPTED, PREFIX_COUNT, CONTEXT_PAGES, SEEN = range(22, 28)
KNOWN = 28
OF_REPLICA, OF_STEP = 32, 24
"""`of[replica]`: DUE is the event that ends its step, -1 when idle; CONTEXT the tokens of all its
decoding sequences; GROWING 1 + the place from which on some may outgrow their pages, or 0; PARTIAL
the request whose prompt is partly computed, or -1; STEP_HEAD and STEP_TAIL the prompts of the step
in flight, linked by NEXT as those of the queue; KNOWN the last in the queue that the next step
was put together with, or -1, where steps are decided ahead; STEPS, GENERATED, DECODED, PROMPTS and
PREEMPTED are totals.
In lines of 64 bytes: the first is all that the delivery of a request needs, a step takes the first
three."""

SPEED, BUSY_S, SPARE_S = range(3)
OF_PACE = 4
"""`pace[replica]`: SPARE_S is what the last step left the host to launch the next. A line of 64
bytes holds two replicas whole."""

STOP, REQUEST, END, ROOM = range(4)
OF_SEAT = 4
"""`seated[replica, seat]`: a decoding sequence. They are in order of admission in two rows of small
numbers: `left[replica, i]`, tokens until STOP, and `seat[replica, i]`. STOP is where something must
be done about it: it ends, or may outgrow its pages. A sequence is STOP - left tokens long. A step
takes tokens off `left` alone and looks at a seat when that is used up, so that it reads few lines;
and when one leaves, the small numbers alone move up. Behind the last, `seat` has the free ones."""
MOST_LEFT, MOST_SEATS = 32_000, 32_000
"""Both are 16 bits wide. STOP comes earlier where the end is further away."""

BACKENDS, _DECODE_BACKENDS, RING, _DECODE_RING = range(4)
GATEWAY_DRAWN, SENT_SUM = 4, 5
GATEWAY_KEYS, _SECOND_GATEWAY_KEY = 6, 7
LOOKS, _DECODE_LOOKS = 8, 9
OF_GATEWAY = 10
"""`gateway[gateway]`: BACKENDS + role, RING + role and LOOKS + role are counts."""

WARM_LENGTH, CONNECTED, _DECODE_CONNECTED, CONNECTION_LEFT, _DECODE_CONNECTION_LEFT = range(5)
CONVERSATION, TURNS_LEFT, SAID = range(5, 8)
OF_LANE = 8
"""`lanes[lane]`: the last three of its user."""

POOL, FREE, FIRST_FREE = range(3)
"""`free[server]`: how many of its lanes go on together, how many are free, and which: as wide
as the largest needs."""

KEPT_TOKENS, KEPT_OF = range(2)
"""`contexts[replica, user, ..]`: tokens in the prefix cache, and of which conversation."""

INPUT, OUTPUT, REPLICA, NEXT, PROGRESS, LANE, GROUP, PREFIX, HIT, TURNS = range(10)
REFUSED_BY = NEXT
"""`asked[request]`: NEXT is the request behind it in its queue, PROGRESS the output tokens that it
had when it lost its pages. LANE is there in a closed loop only, the next three with groups or
conversations only, TURNS with conversations. REFUSED_BY, the last replica but one that refused it
or -1, stands where NEXT does, while it is in no queue."""

SENT_S, FIRST_S, DONE_S = range(3)
"""`when[request]`."""

STATUS, PHASE, STAGE, TRIES = range(4)
"""`marks[request]`."""
