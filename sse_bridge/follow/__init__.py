"""What must this reader see next? Decisions only: no I/O, no threads, no clock; time comes in as an argument.

page      a read of the log, and the judgement whether it continues a position (the only source of gaps)
window    the recent entries of a channel that a process shares among its readers
feed      what a process knows of a channel, and what it must still ask the broker
policies  what happens to a reader that falls behind
cursor    one reader on one channel
follower  one reader on its channels: batches of deliveries, each with the id to resume at
wish      what a reader asks for, checked
ids       ids as clients send them
"""
