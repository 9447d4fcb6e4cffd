"""The keeper, on a real server: what it deletes, what it leaves, and that one of several acts."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.demo.erp_plain import PlainErp
from bridge.demo.nats_server import EmbeddedNats
from eventbus.buckets import Bucket
from eventbus.errors import JetStreamError
from eventbus.jetstream import JetStream
from eventbus.objects import ObjectStore
from eventbus.pull_consumer import pinned_consumer
from eventbus.settings import DAY
from eventbus.subjects import lane_of
from pipeline.deliveries_purge import Beside, DeliveriesPurge
from pipeline.events_purge import EventsPurge
from pipeline.keeper import NAME, KeeperSettings
from pipeline.lease import Lease, read_lease
from pipeline.object_sweep import ObjectSweep
from pipeline.purge import Purged
from pipeline.takeover import State
from pipeline.trouble import Trouble
from tests.pipeline.delivering import MB, Bus, acme, eventually, order_at_erp
from tests.pipeline.processes import running
