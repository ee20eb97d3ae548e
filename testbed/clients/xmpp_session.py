"""The connection of the scripted client: what Engine asks of it, and events for whatever the server sends. See xmpp_client.py."""
import asyncio
import json
import random
import sys
import traceback
import xml.etree.ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

C = "{jabber:client}"
PUBSUB = "{http://jabber.org/protocol/pubsub}"
EVENT = "{http://jabber.org/protocol/pubsub#event}"
MUC = "http://jabber.org/protocol/muc"
DATA = "{jabber:x:data}"
GIVEN_UP = ("internal-server-error", "item-not-found")
NO_SUCH = ("item-not-found", "service-unavailable", "feature-not-implemented")
PLUGINS = ("xep_0030", "xep_0045", "xep_0060", "xep_0115", "xep_0163", "xep_0199", "xep_0280")
REPLY_SECONDS = 60


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
        self.sealed = {}                # id of an own sealed message -> the whole stanza
        self.seen = {}                  # id of somebody's sealed message -> the stanza
        self.held = None                # while held: stanzas that came and were not handled
        self.steady = None              # set: we come back by ourselves
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
            first = not self.ready.done()
            if first:
                if self.engine:
                    await self.engine.start()
                self.pump = asyncio.ensure_future(self.handle_stanzas())
            self.send_presence()
            await self["xep_0280"].enable()
            if first:
                self.ready.set_result(None)
            elif self.steady:
                self.steady.resume()
        except Exception as e:
            self.fail(f"session start: {e!r}")

    # ---- what Engine asks for

    async def publish(self, node, item, element):
        options = {"pubsub#access_model": "open", "pubsub#persist_items": "true"}
        if node.endswith(":bundles"):       # OMEMO 0.8 keeps one item for each device
            try:
                return await self.publish_with(node, item, element, {**options, "pubsub#max_items": "max"})
            except IqError:                 # ejabberd 23.01 does not know the option
                pass
        for last in (False, False, False, False, True):
            try:
                return await self.publish_with(node, item, element, options)
            except IqError as e:            # ejabberd's database gives up one of two nodes that are made at the same moment
                if last or not error_text(e.iq.xml).startswith(GIVEN_UP):
                    raise
            await asyncio.sleep(random.uniform(0, 0.1))     # or both meet again

    async def publish_with(self, node, item, element, options):
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
            if isinstance(stanza, tuple):       # something to be done at this point of the stream
                await stanza[0](*stanza[1:])
                continue
            if self.held is not None and any(e.tag.endswith("}encrypted") for e in stanza):
                self.held.append(stanza)
                sender = slixmpp.JID(stanza.get("from"))
                own = sender.bare in self.nicks and self.nicks[sender.bare] == sender.resource
                emit(event="held", own=own, id=stanza.get("id", ""), **{"from": sender.full})
                continue
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
                "real": "", "affiliation": "", "role": "", "show": x.findtext(C + "show", ""),
                "photo": x.findtext("{vcard-temp:x:update}x/{vcard-temp:x:update}photo", ""), "status": x.findtext(C + "status", ""), "reason": ""}
        if jid.bare in self.rooms:
            line.update(room=jid.bare, nick=jid.resource)
            if item is not None:
                line.update(real=bare(item.get("jid")), affiliation=item.get("affiliation", ""), role=item.get("role", ""),
                            reason=item.findtext(f"{{{MUC}#user}}reason", ""))
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
        result = x.find("{urn:xmpp:mam:2}result")
        if result is not None and bare(x.get("from")) in self.rooms:
            return await self.on_text(result.find(f"{{urn:xmpp:forward:0}}forwarded/{C}message"), "", result.get("id"))
        await self.on_text(x, carbon)

    async def on_text(self, x, carbon, archived=""):
        """Tells of a message; archived is the stanza-id of one that comes from a room's archive."""
        sender, kind = slixmpp.JID(x.get("from")), x.get("type", "normal")
        real = self.rooms[sender.bare].get(sender.resource, "") if sender.bare in self.rooms else sender.bare
        if archived:
            item = x.find(f"{{{MUC}#user}}x/{{{MUC}#user}}item")
            real = bare(item.get("jid")) if item is not None else real
        fallback = x.findtext(C + "body")
        line = {"from": sender.full, "type": kind, "real": real, "body": fallback, "fallback": fallback, "encrypted": False, "namespace": "",
                "content": "", "device": 0, "own": False, "id": x.get("id", ""), "carbon": carbon, "error": error_text(x) if kind == "error" else "",
                "origin_id": attribute(x, "{urn:xmpp:sid:0}origin-id"), "stanza_id": archived or attribute(x, "{urn:xmpp:sid:0}stanza-id"),
                "replace": attribute(x, "{urn:xmpp:message-correct:0}replace"), "subject": x.findtext(C + "subject"),
                "delayed": x.find("{urn:xmpp:delay}delay") is not None, "xml": ET.tostring(x, encoding="unicode")}
        if kind == "groupchat":
            line["own"] = self.nicks.get(sender.bare) == sender.resource and sender.resource != ""
            if self.steady and not self.steady.sees(sender.bare, line, x, archived):
                return
        if kind == "error" and self.steady:
            self.steady.settle(line["id"], line["error"])
        sealed = [e for e in x if e.tag.endswith("}encrypted")]
        if sealed and kind != "error":
            if not line["own"]:
                self.seen[line["id"]] = x
            sealed = self.engine.for_us(sealed) if self.engine else sealed[0]
            line.update(encrypted=True, namespace=sealed.tag[1:].split("}")[0], body=None)
            if line["own"] and line["id"] in self.sent:
                line["body"] = self.sent[line["id"]]
            elif self.engine is None:
                line["error"] = "sealed, and this client has no OMEMO"
            else:
                try:
                    line["body"], line["device"], line["content"] = await self.engine.decrypt(sealed, real, sender.bare if kind == "groupchat" else None)
                except Exception as e:
                    line["error"] = f"{type(e).__name__}: {e}"
        emit(event="message", **line)


def attribute(x, tag):
    element = x.find(tag)
    return "" if element is None else element.get("id", "")
