"""A scripted XMPP client with OMEMO, on slixmpp and python-omemo: JSON lines in, JSON lines out. Run it with the system's python3.

In:   {"id": 1, "cmd": "login", "args": {...}}     every coroutine named cmd_* below is a command, its parameters are the args
Out:  {"id": 1, "result": ...} or {"id": 1, "error": "..."}    one reply for each command
      {"event": "message" | "held" | "presence" | "devices" | "subscription" | "disconnected", ...}    whatever the server sends, in its order
It ends at the end of its input. Nothing is trusted to be there: any failure is the command's error reply.
"""
import asyncio
import json
import sys
import xml.etree.ElementTree as ET

from slixmpp.exceptions import IqError, IqTimeout

from xmpp_session import MUC, REPLY_SECONDS, Client, bare, emit, error_text, form


class Commands:
    """What can be asked of the client; each coroutine's result is its reply."""

    def __init__(self):
        self.client = None
        self.affiliated = {}            # room -> its occupants at that time, who was affiliated

    async def cmd_login(self, jid, password, host, port, resource="test", omemo=("legacy",), storage=None):
        self.client = Client(jid, password, resource, (host, port), list(omemo), storage)
        self.client.connect(self.client.address, disable_starttls=True, force_starttls=False)
        await asyncio.wait_for(self.client.ready, REPLY_SECONDS)
        return {"jid": self.client.boundjid.full, "device": self.client.engine.device_id if self.client.engine else 0}

    async def cmd_join(self, room, nick, history=0):
        c = self.client
        c.rooms.setdefault(room, {})
        c.joining[room] = asyncio.get_running_loop().create_future()
        presence = c.make_presence(pto=f"{room}/{nick}")
        ET.SubElement(ET.SubElement(presence.xml, f"{{{MUC}}}x"), f"{{{MUC}}}history", maxstanzas=str(history))
        presence.send()
        await asyncio.wait_for(c.joining[room], REPLY_SECONDS)
        return {"nick": c.nicks[room], "occupants": c.rooms[room]}

    async def cmd_leave(self, room):
        self.client.send_presence(pto=f"{room}/{self.client.nicks.pop(room)}", ptype="unavailable")
        self.client.rooms.pop(room)

    async def cmd_occupants(self, room):
        return self.client.rooms[room]

    async def cmd_configure(self, room, fields):
        iq = self.client.make_iq_set(ito=room)
        ET.SubElement(iq.xml, f"{{{MUC}#owner}}query").append(form(MUC + "#roomconfig", {"muc#roomconfig_" + k: v for k, v in fields.items()}))
        await iq.send(timeout=REPLY_SECONDS)

    async def cmd_affiliate(self, room, jid, affiliation):
        iq = self.client.make_iq_set(ito=room)
        ET.SubElement(ET.SubElement(iq.xml, f"{{{MUC}#admin}}query"), f"{{{MUC}#admin}}item", jid=jid, affiliation=affiliation)
        await iq.send(timeout=REPLY_SECONDS)

    async def cmd_affiliations(self, room):
        found = {}
        for affiliation in ("owner", "admin", "member", "outcast"):
            iq = self.client.make_iq_get(ito=room)
            ET.SubElement(ET.SubElement(iq.xml, f"{{{MUC}#admin}}query"), f"{{{MUC}#admin}}item", affiliation=affiliation)
            try:
                answer = await iq.send(timeout=REPLY_SECONDS)
            except IqError:
                continue
            found.update({i.get("jid"): affiliation for i in answer.xml.iter(f"{{{MUC}#admin}}item")})
        return found

    async def cmd_send(self, to, body=None, type=None, id=None, beside=()):
        """Sends a message in the clear, with the XML elements of `beside` in it."""
        c = self.client
        message = c.make_message(mto=to, mbody=body, mtype=type or ("groupchat" if to in c.rooms else "chat"))
        message["id"] = id or c.new_id()
        for element in beside:
            message.xml.append(ET.fromstring(element))
        ET.SubElement(message.xml, "{urn:xmpp:sid:0}origin-id", id=message["id"])
        message.send()
        return {"id": message["id"]}

    async def cmd_send_omemo(self, to, body=None, omemo=None, recipients=None, refresh=False, hold=False, skip=False, beside=(), inside=()):
        """Seals a text, or several one after the other, for everyone in the room or affiliated with it, as real clients do. Each device gets it
        in the first of the `omemo` versions that it has. `refresh` fetches device lists anew, `skip` leaves out who has no device in the
        versions, and what is held goes out by `release`. The XML elements of `beside` stand in the clear beside what is sealed, those of
        `inside` in the envelope of OMEMO 2; a message without body needs that version."""
        from omemo_engine import NAMESPACES
        c = self.client
        room = to if to in c.rooms else None
        if recipients is None and room:
            affiliated = {jid for jid, a in (await self.cmd_affiliations(room)).items() if a != "outcast"}
            recipients = ({real for real in c.rooms[room].values() if real} | affiliated) - {c.boundjid.bare}
        namespaces = [NAMESPACES[n] for n in omemo] if omemo else c.engine.namespaces
        recipients, ids, errors = sorted(recipients or [bare(to)]), [], []
        for text in body if isinstance(body, list) else [body]:
            sealed, failed = await c.engine.encrypt(recipients, text, namespaces, room, refresh, skip, inside)
            ids += [self.send_sealed(to, text, namespace, element, hold, beside) for namespace, element in sealed]
            errors += failed
        return {"ids": ids, "recipients": recipients, "errors": errors}

    def send_sealed(self, to, text, namespace, element, hold, beside):
        c = self.client
        message = c.make_message(mto=to, mtype="groupchat" if to in c.rooms else "chat", mbody="This message is sealed with OMEMO.")
        message["id"] = c.new_id()
        c.sent[message["id"]], c.sealed[message["id"]] = text, message
        message.xml.append(element)
        for other in beside:
            message.xml.append(ET.fromstring(other))
        ET.SubElement(message.xml, "{urn:xmpp:eme:0}encryption", namespace=namespace, name="OMEMO")
        ET.SubElement(message.xml, "{urn:xmpp:sid:0}origin-id", id=message["id"])
        ET.SubElement(message.xml, "{urn:xmpp:hints}store")
        if not hold:
            message.send()
        return message["id"]

    async def cmd_release(self, ids):
        """Sends sealed messages that were held, in the order given."""
        for i in ids:
            self.client.sealed[i].send()

    async def cmd_replay(self, id, to, type):
        """Sends the ciphertext of a message, of our own or of somebody else, once more: under a new id and perhaps to another place."""
        c = self.client
        message = c.make_message(mto=to, mtype=type, mbody="This message is sealed with OMEMO.")
        message["id"] = c.new_id()
        for sealed in c.sealed[id].xml if id in c.sealed else c.seen[id]:
            if sealed.tag.endswith("}encrypted"):
                message.xml.append(sealed)
        message.send()
        return {"id": message["id"]}

    async def cmd_hold(self):
        """From now on sealed messages are kept unopened when they come; each is told as a "held" event."""
        self.client.held = []

    async def cmd_unhold(self, order="same"):
        """Takes what was held as if it came now, in the same or in the reverse order."""
        c = self.client
        held, c.held = c.held, None
        for stanza in reversed(held) if order == "reverse" else held:
            c.inbox.put_nowait(stanza)

    async def cmd_exchange_anew(self, jid, device, times=1):
        failed = await self.client.engine.exchange_anew(jid, device, times)
        if failed:
            raise RuntimeError("; ".join(failed))

    async def cmd_bundle(self, jid, device, omemo="legacy"):
        """A device's bundle as it is published now: the ids of its signed prekey and of its prekeys."""
        from omemo_engine import NAMESPACES, V2, bundle_place
        namespace = NAMESPACES[omemo]
        node, item = bundle_place(namespace, device)
        payloads = await self.client.fetch(jid, node, item if namespace == V2 else None)
        if not payloads:
            raise ValueError("there is none")
        signed, one_time = ("spk", "pk") if namespace == V2 else ("signedPreKeyPublic", "preKeyPublic")
        ids = [int(k.get("id") or k.get("preKeyId")) for k in payloads[0].iter(f"{{{namespace}}}{one_time}")]
        spk = payloads[0].find(f"{{{namespace}}}{signed}")
        return {"signed": int(spk.get("id") or spk.get("signedPreKeyId")), "prekeys": ids}

    async def cmd_devices(self, jid, refresh=True):
        if refresh:
            async with self.client.engine.lock:
                await self.client.engine.refresh([jid])
        return await self.client.engine.devices(jid)

    async def cmd_remove_device(self, device=None):
        """Takes a device of ours (this one unless named) off the published lists. This client's OMEMO ends with its own device."""
        c, e = self.client, self.client.engine
        gone = device or e.device_id
        for node, namespace in c.device_nodes.items():
            payloads = await c.fetch(c.boundjid.bare, node, None)
            for entry in [d for d in payloads[0] if d.get("id") == str(gone)] if payloads else []:
                payloads[0].remove(entry)
            if gone == e.device_id:
                c.engine = None         # else it would put itself back on the list at once
            if payloads:
                await c.publish(node, "current", payloads[0])
        return {"device": gone}

    async def cmd_subscribe(self, jid, type="subscribe"):
        self.client.send_presence(pto=jid, ptype=type)

    async def cmd_roster(self):
        return {jid: self.client.client_roster[jid]["subscription"] for jid in self.client.client_roster}

    async def cmd_iq(self, to, type, xml):
        iq = self.client.make_iq(ito=to, itype=type)
        iq.xml.append(ET.fromstring(xml))
        return {"xml": ET.tostring((await iq.send(timeout=REPLY_SECONDS)).xml, encoding="unicode")}

    async def cmd_raw(self, xml):
        self.client.send_raw(xml)

    async def cmd_keep(self, room):
        """From now on we come back by ourselves when the connection is lost, and back into this room, and read what we missed."""
        from xmpp_steady import Steady
        self.client.steady = self.client.steady or Steady(self.client)
        self.client.steady.keep(room)

    async def cmd_say(self, room, body, omemo=False):
        """Says a text in a kept room, however long it takes: the reply comes when the room has reflected it."""
        async def send():
            if not omemo:
                return (await self.cmd_send(room, body))["id"]
            sealed = await self.cmd_send_omemo(room, body, recipients=await self.kept_recipients(room), hold=True)
            if sealed["errors"]:
                raise RuntimeError("; ".join(sealed["errors"]))
            await self.cmd_release(sealed["ids"])
            return sealed["ids"][0]
        return {"id": await self.client.steady.say(room, send)}

    async def kept_recipients(self, room):
        """Everyone in the room or affiliated with it; who is affiliated is asked for when somebody has come or gone."""
        c, occupants = self.client, frozenset(real for real in self.client.rooms[room].values() if real)
        if self.affiliated.get(room, (None,))[0] != occupants:
            self.affiliated[room] = occupants, {jid for jid, a in (await self.cmd_affiliations(room)).items() if a != "outcast"}
        return (occupants | self.affiliated[room][1]) - {c.boundjid.bare}

    async def cmd_quit(self):
        if self.client:
            if self.client.steady:
                self.client.steady.ending = True
            await self.client.disconnect(wait=1)


def describe(e):
    if isinstance(e, IqError):
        return error_text(e.iq.xml) or str(e)
    if isinstance(e, (IqTimeout, asyncio.TimeoutError)):
        return f"no answer within {REPLY_SECONDS} s"
    return f"{type(e).__name__}: {e}"


async def run(commands, line):
    number = None
    try:
        request = json.loads(line)
        number = request.get("id")
        command = getattr(commands, "cmd_" + request["cmd"], None)
        if command is None:
            raise ValueError(f"there is no command {request['cmd']}")
        result = await command(**request.get("args", {}))
        emit(id=number, result=result)
    except Exception as e:
        emit(id=number, error=describe(e))


async def main():
    commands = Commands()
    lines = asyncio.StreamReader(limit=16 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():       # in order: a command starts when the one before has been answered
        await run(commands, line)
    await commands.cmd_quit()


asyncio.run(main())
