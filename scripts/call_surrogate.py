"""Call a surrogate file with torch alone, like a program without this package.

    python -I scripts/call_surrogate.py cdr.pt < y.csv > c.csv

Rows of y are read from standard input and rows of c written to standard output; the times of a
call for one sample and for a batch go to standard error, as seconds a sample.
"""

import sys
import time

import torch

model = torch.jit.load(sys.argv[1])
rows = [[float(number) for number in line.split(",")] for line in sys.stdin]
y = torch.tensor(rows, dtype=torch.float64)
with torch.inference_mode():
    c = model(y)
    for row in c.tolist():
        print(",".join(map(repr, row)))
    for batch in (y[0], y.repeat(4096 // len(y) + 1, 1)[:4096]):
        for _ in range(20):
            model(batch)
        calls = 2000 if batch.dim() == 1 else 20
        start = time.perf_counter()
        for _ in range(calls):
            model(batch)
        seconds = (time.perf_counter() - start) / calls
        print(seconds / (1 if batch.dim() == 1 else len(batch)), file=sys.stderr)
