"""The demo: real flights, a worker killed in the middle, and the proof that nothing was lost or doubled."""
