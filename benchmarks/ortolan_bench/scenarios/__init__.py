"""How inputs arrive: the scenarios of MLPerf LoadGen (``loadgen/test_settings.h``), for one device.

========================  ==============================================================  =============================
``single-stream``         one input, and the next when it is answered                     latency of an answer
``multi-stream:N``        N inputs at once, and the next N when all are answered          latency of N answers
``offline:N,N,…``         all there is, in batches of N                                   inputs per second, memory
``server:RATE/s``         Poisson arrivals; who comes while another is answered waits     latency, waiting included
``server:TIME``           the same, at the highest rate whose 99 % are answered in TIME   that rate
========================  ==============================================================  =============================
"""

from __future__ import annotations

from ortolan_bench.scenarios.scenario import Scenario, parse

__all__ = ["Scenario", "parse"]
