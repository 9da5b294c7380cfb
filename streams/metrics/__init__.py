"""What a worker tells the world of itself: `/metrics`, `/livez`, `/readyz`.

catalogue.py    every metric, with its meaning
figures.py      the numbers themselves, as integers
meter.py        the observer that counts, and samples what nobody tells it
health.py       alive, ready: functions of the figures and a clock
exposition.py   figures in Prometheus's text format
server.py       the port
"""
