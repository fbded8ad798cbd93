"""Stands in for imagezmq: change ``import imagezmq`` to ``import framelane.imagezmq as imagezmq``.

:class:`ImageSender` and :class:`ImageHub` have the methods of imagezmq 1.2, in both of its patterns:

| | REQ/REP (``REQ_REP=True``) | PUB/SUB (``REQ_REP=False``) |
|---|---|---|
| ``ImageSender`` | connects to the hub; ``send_image`` waits for the hub's reply | listens; sends to whoever has subscribed |
| ``ImageHub`` | listens; ``recv_image``, then ``send_reply`` | subscribes; ``recv_image`` gives the newest image |

What is different: a hub that is restarted, or is started after its senders, is found again by itself, and an image without a
reply is sent again; a slow subscriber gets the newest image of each sender, and never a growing queue of old ones; both ends prove who
they are, and everything is encrypted. It is UDP, and TCP where that does not get through, and within a
machine: open the port for both where there is a firewall. The reply, or in PUB/SUB the images, come
back to a port of their own, which is open at every address of the machine, and to those pins alone, unless all is within
one machine; so both machines have to reach each other.

**Who may.** Without a word, the programs of one user on one machine: they share the identity in ``~/.config/framelane/imagezmq``. For
another machine each end is told the other's pin, in the program or, where that is to stay as it is, in the environment::

    python -m framelane.imagezmq                    # on each machine: prints its pin
    ImageHub(allow="sha256:PIN-OF-SENDER")          # or FRAMELANE_ALLOW='sha256:... sha256:...'
    ImageSender("tcp://hub:5555", pin="sha256:PIN-OF-HUB")  # or FRAMELANE_PIN=sha256:...

``allow="any"`` lets everybody send to a hub; do that only where whoever reaches it may.
"""

from __future__ import annotations

from ._hub import ImageHub
from ._keys import own_pin
from ._sender import ImageSender
from ._socket import Again

__all__ = ["Again", "ImageHub", "ImageSender", "own_pin"]
