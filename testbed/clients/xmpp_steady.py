"""Staying in rooms while the server restarts: the scripted client connects again, re-enters its rooms, reads from their archives what it
missed, in order, and says things until the room reflects them. See xmpp_client.py."""
import asyncio
import itertools
import xml.etree.ElementTree as ET

from slixmpp.exceptions import IqError, IqTimeout

MUC = "http://jabber.org/protocol/muc"
MAM = "{urn:xmpp:mam:2}"
RSM = "{http://jabber.org/protocol/rsm}"
PAUSE = 0.2         # seconds between two tries to connect, or to say something that was refused
PATIENCE = 30       # seconds for an answer while the rooms are entered; then it begins again


class Steady:
    """What keeps a client where it was. Rooms are kept from the moment on that keep() is called for them."""

    def __init__(self, client):
        self.client = client
        self.rooms = {}             # room -> Event: set while we are in it and have read what we missed
        self.away = {}              # room -> Event: set while we are not
        self.ending = False
        self.last = {}              # room -> the newest stanza-id that was handled
        self.late = {}              # room -> live messages that wait until the archive was read
        self.handled = set()        # (room, stanza-id) of all messages
        self.reflected = {}         # id of what we said -> future
        self.returning = None
        self.queries = (f"missed-{n}" for n in itertools.count())
        client.add_event_handler("disconnected", lambda _: self.lost())
        client.add_event_handler("connection_failed", lambda _: self.again())

    def keep(self, room):
        self.rooms[room], self.away[room] = asyncio.Event(), asyncio.Event()
        self.rooms[room].set()

    def lost(self):
        for room, here in self.rooms.items():
            here.clear()
            self.away[room].set()
        if self.returning:
            self.returning.cancel()
        self.again()

    def again(self):
        if self.ending:
            return
        asyncio.get_running_loop().call_later(PAUSE, lambda: self.client.connect(self.client.address, disable_starttls=True, force_starttls=False))

    def resume(self):
        """A new session has begun."""
        self.late = {room: [] for room in self.rooms}
        self.returning = asyncio.ensure_future(self.enter())

    async def enter(self):
        for room, here in self.rooms.items():
            while True:
                try:
                    await self.join(room)
                    await self.read_missed(room)
                    break
                except (IqError, IqTimeout, RuntimeError, asyncio.TimeoutError):
                    await asyncio.sleep(PAUSE)
            self.client.inbox.put_nowait((self.caught_up, room))     # behind what the archive sent
            await here.wait()

    async def join(self, room):
        c = self.client
        c.joining[room] = asyncio.get_running_loop().create_future()
        presence = c.make_presence(pto=f"{room}/{c.nicks[room]}")
        ET.SubElement(ET.SubElement(presence.xml, f"{{{MUC}}}x"), f"{{{MUC}}}history", maxstanzas="0")
        presence.send()
        await asyncio.wait_for(c.joining[room], PATIENCE)

    async def read_missed(self, room):
        after = self.last.get(room, "")
        while True:
            iq = self.client.make_iq_set(ito=room)
            rsm = ET.SubElement(ET.SubElement(iq.xml, MAM + "query", queryid=next(self.queries)), RSM + "set")
            ET.SubElement(rsm, RSM + "max").text = "50"
            if after:
                ET.SubElement(rsm, RSM + "after").text = after
            fin = (await iq.send(timeout=PATIENCE)).xml.find(MAM + "fin")
            after = fin.findtext(f"{RSM}set/{RSM}last", after)
            if fin.get("complete") == "true":
                return

    async def caught_up(self, room):
        late = self.late.pop(room)
        for stanza in late:
            await self.client.on_text(stanza, "")
        self.away[room].clear()
        self.rooms[room].set()

    def sees(self, room, line, stanza, archived):
        """Whether a room's message is to be handled now: not when it waits for the archive, and not when the archive had it already."""
        if room in self.late and not archived:
            self.late[room].append(stanza)
            return False
        if (room, line["stanza_id"]) in self.handled:
            return False
        if line["stanza_id"]:
            self.last[room] = line["stanza_id"]
            self.handled.add((room, line["stanza_id"]))
        self.settle(line["id"], None)
        return True

    def settle(self, id, error):
        waiting = self.reflected.get(id)
        if waiting and not waiting.done():
            waiting.set_result(error)

    async def say(self, room, send):
        """Calls send, which returns the message's id, until the room has reflected one of the messages. Each is in the room once."""
        while True:
            await self.rooms[room].wait()
            try:
                id = await send()
            except (IqError, IqTimeout, RuntimeError, asyncio.TimeoutError):
                await asyncio.sleep(PAUSE)
                continue
            self.reflected[id] = asyncio.get_running_loop().create_future()
            if await self.outcome(room, self.reflected[id]) is None:
                del self.reflected[id]
                return id
            del self.reflected[id]
            await asyncio.sleep(PAUSE)

    async def outcome(self, room, reflection):
        """None where it was reflected, now or in the archive; else why not."""
        away = asyncio.ensure_future(self.away[room].wait())
        await asyncio.wait({reflection, away}, return_when=asyncio.FIRST_COMPLETED)
        away.cancel()
        if not reflection.done():
            await self.rooms[room].wait()       # the archive has been read then
        return reflection.result() if reflection.done() else "the connection was lost before it arrived"
