"""Say what came true of one request.

    python label.py REQUEST_ID true|false [VERSION]        for example: python label.py mine false

A correction has a higher version than what it corrects. It is sent as `produce.py` sends a request.
"""

import sys
import time

from produce import send, value

if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
label = {
    "request_id": sys.argv[1],
    "tenant": "me",
    "known_at": time.time_ns() // 1_000_000,
    "version": value(sys.argv[3]) if len(sys.argv) == 4 else 1,
    "withdrawn": False,
    "defaulted": value(sys.argv[2]),
}
sys.exit(send("$app.labels", label, "said"))
