from cdc.event_text import Transaction as Transaction
from cdc.event_text import event_of as event_of
