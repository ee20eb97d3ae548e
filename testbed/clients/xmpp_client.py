"""A scripted XMPP client with OMEMO, on slixmpp and python-omemo: JSON lines in, JSON lines out. Run it with the system's python3.

In:   {"id": 1, "cmd": "login", "args": {...}}     every coroutine named cmd_* below is a command, its parameters are the args
Out:  {"id": 1, "result": ...} or {"id": 1, "error": "..."}    one reply for each command
      {"event": "message" | "presence" | "devices" | "subscription" | "disconnected", ...}    whatever the server sends, in its order
It ends at the end of its input. Nothing is trusted to be there: any failure is the command's error reply.
"""
import asyncio
import json
import sys
import traceback
import xml.etree.ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

C = "{jabber:client}"
PUBSUB = "{http://jabber.org/protocol/pubsub}"
EVENT = "{http://jabber.org/protocol/pubsub#event}"
MUC = "http://jabber.org/protocol/muc"
DATA = "{jabber:x:data}"
NO_SUCH = ("item-not-found", "service-unavailable", "feature-not-implemented")
PLUGINS = ("xep_0030", "xep_0045", "xep_0060", "xep_0115", "xep_0163", "xep_0199", "xep_0280")
REPLY_SECONDS = 20


def emit(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def bare(jid):
    return slixmpp.JID(jid).bare if jid else ""


def error_text(stanza):
    """Condition and text of a stanza's <error/>."""
    error = stanza.find(C + "error")
    if error is None:
        return ""
    words = [e.tag.split("}")[1] for e in error if not e.tag.endswith("}text")]
    words += [e.text for e in error if e.tag.endswith("}text") and e.text]
    return ": ".join(words) or "error"


def form(form_type, fields):
    x = ET.Element(DATA + "x", type="submit")
    ET.SubElement(ET.SubElement(x, DATA + "field", var="FORM_TYPE", type="hidden"), DATA + "value").text = form_type
    for name, value in fields.items():
        text = str(int(value)) if isinstance(value, bool) else str(value)
        ET.SubElement(ET.SubElement(x, DATA + "field", var=name), DATA + "value").text = text
    return x


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, password, resource, address, namespaces, storage):
        super().__init__(f"{jid}/{resource}", password)
        for plugin in PLUGINS:
            self.register_plugin(plugin)
        self.address = address
        self.engine = None
        self.rooms = {}                 # room -> {nick: real bare JID}
        self.nicks = {}                 # room -> our nick
        self.joining = {}               # room -> future of the join
        self.sent = {}                  # id of an own sealed message -> its text, for our own reflection
        self.inbox = asyncio.Queue()    # stanzas are handled one after the other: decryption must keep their order
        self.ready = asyncio.get_running_loop().create_future()
        self.auto_authorize = self.auto_subscribe = True
        if namespaces:
            from omemo_engine import DEVICE_NODES, Engine, NAMESPACES     # a second of import that plain clients save
            self.device_nodes = {DEVICE_NODES[NAMESPACES[n]]: NAMESPACES[n] for n in namespaces}
            self.engine = Engine(self, jid, [NAMESPACES[n] for n in namespaces], storage)
            for node in self.device_nodes:
                self["xep_0163"].add_interest(node)
        self.add_event_handler("session_start", self.on_session)
        self.add_event_handler("failed_all_auth", lambda _: self.fail("authentication failed"))
        self.add_event_handler("connection_failed", lambda e: self.fail(f"connection failed: {e}"))
        self.add_event_handler("disconnected", lambda e: emit(event="disconnected", reason=str(e)))
        for name in ("message", "presence"):
            self.register_handler(Callback("all " + name, MatchXPath(C + name), lambda s: self.inbox.put_nowait(s.xml)))

    def fail(self, reason):
        if not self.ready.done():
            self.ready.set_exception(RuntimeError(reason))

    async def on_session(self, _):
        try:
            await self.get_roster()
            await self["xep_0115"].update_caps()
            if self.engine:
                await self.engine.start()
            self.pump = asyncio.ensure_future(self.handle_stanzas())
            self.send_presence()
            await self["xep_0280"].enable()
            if not self.ready.done():
                self.ready.set_result(None)
        except Exception as e:
            self.fail(f"session start: {e!r}")

    # ---- what Engine asks for

    async def publish(self, node, item, element):
        options = {"pubsub#access_model": "open", "pubsub#persist_items": "true"}
        if node.endswith(":bundles"):       # OMEMO 0.8 keeps one item for each device
            options["pubsub#max_items"] = "max"
        iq = self.make_iq_set()
        pubsub = ET.SubElement(iq.xml, PUBSUB + "pubsub")
        ET.SubElement(ET.SubElement(pubsub, PUBSUB + "publish", node=node), PUBSUB + "item", id=item).append(element)
        ET.SubElement(pubsub, PUBSUB + "publish-options").append(form("http://jabber.org/protocol/pubsub#publish-options", options))
        await iq.send(timeout=REPLY_SECONDS)

    async def fetch(self, jid, node, item):
        iq = self.make_iq_get(ito=jid)
        items = ET.SubElement(ET.SubElement(iq.xml, PUBSUB + "pubsub"), PUBSUB + "items", node=node)
        if item:
            ET.SubElement(items, PUBSUB + "item", id=item)
        try:
            answer = await iq.send(timeout=REPLY_SECONDS)
        except IqError as e:
            if error_text(e.iq.xml).split(":")[0] in NO_SUCH:
                return []
            raise
        return [payload for i in answer.xml.iter(PUBSUB + "item") for payload in i]

    async def retract(self, node, item):
        iq = self.make_iq_set()
        retract = ET.SubElement(ET.SubElement(iq.xml, PUBSUB + "pubsub"), PUBSUB + "retract", node=node)
        ET.SubElement(retract, PUBSUB + "item", id=item)
        await iq.send(timeout=REPLY_SECONDS)

    async def send_empty(self, jid, element):
        message = self.make_message(mto=jid, mtype="chat")
        message.xml.append(element)
        ET.SubElement(message.xml, "{urn:xmpp:hints}store")
        message.send()

    # ---- what the server sends

    async def handle_stanzas(self):
        while True:
            stanza = await self.inbox.get()
            try:
                if stanza.tag == C + "presence":
                    self.on_presence_stanza(stanza)
                else:
                    await self.on_message_stanza(stanza, "")
            except Exception as e:
                emit(event="broken", error=repr(e), xml=ET.tostring(stanza, encoding="unicode"), trace=traceback.format_exc())

    def on_presence_stanza(self, x):
        jid, kind = slixmpp.JID(x.get("from")), x.get("type", "")
        if kind in ("subscribe", "subscribed", "unsubscribe", "unsubscribed"):
            return emit(event="subscription", **{"from": jid.bare, "type": kind})
        item = x.find(f"{{{MUC}#user}}x/{{{MUC}#user}}item")
        codes = [s.get("code") for s in x.findall(f"{{{MUC}#user}}x/{{{MUC}#user}}status")]
        line = {"from": jid.full, "type": kind, "room": "", "nick": "", "codes": codes, "error": error_text(x),
                "real": "", "affiliation": "", "role": "", "show": x.findtext(C + "show", "")}
        if jid.bare in self.rooms:
            line.update(room=jid.bare, nick=jid.resource)
            if item is not None:
                line.update(real=bare(item.get("jid")), affiliation=item.get("affiliation", ""), role=item.get("role", ""))
            waiting = self.joining.get(jid.bare)
            if kind == "unavailable":
                self.rooms[jid.bare].pop(jid.resource, None)
            elif kind != "error":
                self.rooms[jid.bare][jid.resource] = line["real"]
            if waiting and not waiting.done() and kind == "error":
                waiting.set_exception(RuntimeError("cannot join: " + line["error"]))
            elif waiting and not waiting.done() and "110" in codes and kind == "":
                self.nicks[jid.bare] = jid.resource
                waiting.set_result(None)
        return emit(event="presence", **line)

    async def on_message_stanza(self, x, carbon):
        items = x.find(f"{EVENT}event/{EVENT}items")
        if items is not None:
            namespace = self.device_nodes.get(items.get("node")) if self.engine else None
            for payload in items.iterfind(EVENT + "item/*") if namespace else ():
                devices = await self.engine.on_device_list(namespace, bare(x.get("from")), payload)
                emit(event="devices", namespace=namespace, devices=devices, **{"from": bare(x.get("from"))})
            return
        for direction in ("received", "sent"):
            inner = x.find(f"{{urn:xmpp:carbons:2}}{direction}/{{urn:xmpp:forward:0}}forwarded/{C}message")
            if inner is not None and bare(x.get("from")) == self.boundjid.bare:
                return await self.on_message_stanza(inner, direction)
        await self.on_text(x, carbon)

    async def on_text(self, x, carbon):
        sender, kind = slixmpp.JID(x.get("from")), x.get("type", "normal")
        real = self.rooms[sender.bare].get(sender.resource, "") if sender.bare in self.rooms else sender.bare
        fallback = x.findtext(C + "body")
        line = {"from": sender.full, "type": kind, "real": real, "body": fallback, "fallback": fallback, "encrypted": False, "namespace": "",
                "device": 0, "own": False, "id": x.get("id", ""), "carbon": carbon, "error": error_text(x) if kind == "error" else "",
                "origin_id": attribute(x, "{urn:xmpp:sid:0}origin-id"), "stanza_id": attribute(x, "{urn:xmpp:sid:0}stanza-id"),
                "replace": attribute(x, "{urn:xmpp:message-correct:0}replace"), "subject": x.findtext(C + "subject"),
                "delayed": x.find("{urn:xmpp:delay}delay") is not None, "xml": ET.tostring(x, encoding="unicode")}
        if kind == "groupchat":
            line["own"] = self.nicks.get(sender.bare) == sender.resource and sender.resource != ""
        sealed = next((e for e in x if e.tag.endswith("}encrypted")), None)
        if sealed is not None and kind != "error":
            line.update(encrypted=True, namespace=sealed.tag[1:].split("}")[0], body=None)
            if line["own"] and line["id"] in self.sent:
                line["body"] = self.sent[line["id"]]
            elif self.engine is None:
                line["error"] = "sealed, and this client has no OMEMO"
            else:
                try:
                    line["body"], line["device"] = await self.engine.decrypt(sealed, real)
                except Exception as e:
                    line["error"] = f"{type(e).__name__}: {e}"
        emit(event="message", **line)


def attribute(x, tag):
    element = x.find(tag)
    return "" if element is None else element.get("id", "")


class Commands:
    """What can be asked of the client; each coroutine's result is its reply."""

    def __init__(self):
        self.client = None

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

    async def cmd_send(self, to, body, type=None, id=None):
        c = self.client
        message = c.make_message(mto=to, mbody=body, mtype=type or ("groupchat" if to in c.rooms else "chat"))
        message["id"] = id or c.new_id()
        ET.SubElement(message.xml, "{urn:xmpp:sid:0}origin-id", id=message["id"])
        message.send()
        return {"id": message["id"]}

    async def cmd_send_omemo(self, to, body, omemo=None, recipients=None, refresh=False):
        """Seals for everyone in the room or affiliated with it, as real clients do; `refresh` fetches their device lists anew."""
        from omemo_engine import NAMESPACES
        c = self.client
        room = to if to in c.rooms else None
        if recipients is None and room:
            affiliated = {jid for jid, a in (await self.cmd_affiliations(room)).items() if a != "outcast"}
            recipients = ({real for real in c.rooms[room].values() if real} | affiliated) - {c.boundjid.bare}
        namespaces = [NAMESPACES[n] for n in omemo] if omemo else c.engine.namespaces
        sealed, errors = await c.engine.encrypt(recipients or [bare(to)], body, namespaces, room, refresh)
        ids = []
        for namespace, element in sealed:
            message = c.make_message(mto=to, mtype="groupchat" if room else "chat", mbody="This message is sealed with OMEMO.")
            message["id"] = c.new_id()
            c.sent[message["id"]] = body
            message.xml.append(element)
            ET.SubElement(message.xml, "{urn:xmpp:eme:0}encryption", namespace=namespace, name="OMEMO")
            ET.SubElement(message.xml, "{urn:xmpp:sid:0}origin-id", id=message["id"])
            ET.SubElement(message.xml, "{urn:xmpp:hints}store")
            message.send()
            ids.append(message["id"])
        return {"ids": ids, "recipients": sorted(recipients or [bare(to)]), "errors": errors}

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

    async def cmd_quit(self):
        if self.client:
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
