"""Writes an image by the code of ironic-python-agent itself: ipa.py stream|convert URL SHA256 DEVICE

stream: a raw image straight to the device. convert: a qcow2 is downloaded to $TMPDIR and converted by qemu-img.
"""

import os
import sys

from oslo_config import cfg

from ironic_python_agent import config

# Before the extension is imported, which reads its options at once.
config.populate_config()
cfg.CONF([], project="ironic-python-agent")
cfg.CONF.set_override("image_download_connection_retries", 0)

from ironic_python_agent import disk_utils  # noqa: E402
from ironic_python_agent.extensions import standby  # noqa: E402

# The first asks fuser whether any process of the machine has the disk open, and waits as long as one has: the benchmark does. The
# second waits for udev, which need not be there. What they would do costs it time that is not counted here.
disk_utils.destroy_disk_metadata = lambda device, node: None
disk_utils.udev_settle = lambda: None

how, url, sha256, device = sys.argv[1:]
image = {
    "id": "bench",
    "urls": [url],
    "os_hash_algo": "sha256",
    "os_hash_value": sha256,
    "disk_format": {"stream": "raw", "convert": "qcow2"}[how],
    "image_type": "whole-disk",
}
extension = standby.StandbyExtension()
extension.partition_uuids = {}
if how == "stream":
    extension._stream_raw_image_onto_device(image, device)
else:
    extension._cache_and_write_image(image, device)
# It leaves this to the shutdown of the node.
opened = os.open(device, os.O_RDWR)
os.fsync(opened)
os.close(opened)
