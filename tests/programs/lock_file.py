"""Asks for a lock that is a file by being there: lock_file.py PATH TIMES.

Has it for 100 ms and takes it away; pauses 30 ms after each refusal.
"""

import os
import sys
import time

path, times = sys.argv[1], int(sys.argv[2])
for _ in range(times):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        time.sleep(0.03)
        continue
    time.sleep(0.1)
    os.unlink(path)
    break
