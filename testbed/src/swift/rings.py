"""Writes the rings of a Swift with one device: what swift-ring-builder would, in a tenth of the time."""
import sys
from array import array

from swift.common.ring import RingData

for name, port in zip(("account", "container", "object"), map(int, sys.argv[1:])):
    device = {
        "id": 0, "region": 1, "zone": 1, "device": "d1", "weight": 1.0, "meta": "",
        "ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port,
    }
    # One replica of four partitions, all on that device.
    RingData([array("H", [0] * 4)], [device], 30).save(name + ".ring.gz")
