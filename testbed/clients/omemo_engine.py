"""OMEMO for a scripted client: python-omemo's SessionManager over four I/O coroutines of the client, trusting blindly.

The client passed as `io` offers publish(node, item, element), fetch(jid, node, item) -> payloads, retract(node, item) and
send_empty(jid, element). State lives in one JSON file, so that a client can stop and go on with the same sessions, or with those of an older copy.
"""
import asyncio
import json
import os
import xml.etree.ElementTree as ET

import oldmemo
import oldmemo.etree
import omemo
import omemo.storage
import twomemo
import twomemo.etree

LEGACY = oldmemo.oldmemo.NAMESPACE
V2 = twomemo.twomemo.NAMESPACE
NAMESPACES = {"legacy": LEGACY, "omemo:2": V2}
CODECS = {LEGACY: oldmemo.etree, V2: twomemo.etree}
BACKENDS = {LEGACY: oldmemo.Oldmemo, V2: twomemo.Twomemo}
DEVICE_NODES = {LEGACY: LEGACY + ".devicelist", V2: V2 + ":devices"}
SCE = "{urn:xmpp:sce:1}"


class FileStorage(omemo.storage.Storage):
    """Key/value storage in memory, written through to a JSON file when one is named."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.values = {}
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                self.values = json.load(f)

    def _write(self):
        if self.path:
            with open(self.path + ".new", "w", encoding="utf-8") as f:
                json.dump(self.values, f)
            os.replace(self.path + ".new", self.path)

    async def _load(self, key):
        return omemo.storage.Just(self.values[key]) if key in self.values else omemo.storage.Nothing()

    async def _store(self, key, value):
        self.values[key] = value
        self._write()

    async def _delete(self, key):
        self.values.pop(key, None)
        self._write()


def bundle_place(namespace, device):
    """Node and item id under which a device's bundle is published."""
    return (f"{LEGACY}.bundles:{device}", "current") if namespace == LEGACY else (V2 + ":bundles", str(device))


def session_manager(io):
    class Manager(omemo.SessionManager):
        @staticmethod
        async def _upload_bundle(bundle):
            node, item = bundle_place(bundle.namespace, bundle.device_id)
            await io.publish(node, item, CODECS[bundle.namespace].serialize_bundle(bundle))

        @staticmethod
        async def _download_bundle(namespace, bare_jid, device_id):
            node, item = bundle_place(namespace, device_id)
            try:
                payloads = await io.fetch(bare_jid, node, item if namespace == V2 else None)
            except Exception as e:
                raise omemo.BundleDownloadFailed(f"bundle of {bare_jid}/{device_id}: {e!r}") from e
            if not payloads:
                raise omemo.BundleNotFound(f"bundle of {bare_jid}/{device_id}: there is none")
            return CODECS[namespace].parse_bundle(payloads[0], bare_jid, device_id)

        @staticmethod
        async def _delete_bundle(namespace, device_id):
            await io.retract(*bundle_place(namespace, device_id))

        @staticmethod
        async def _upload_device_list(namespace, device_list):
            await io.publish(DEVICE_NODES[namespace], "current", CODECS[namespace].serialize_device_list(device_list))

        @staticmethod
        async def _download_device_list(namespace, bare_jid):
            try:
                payloads = await io.fetch(bare_jid, DEVICE_NODES[namespace], None)
            except Exception as e:
                raise omemo.DeviceListDownloadFailed(f"device list of {bare_jid}: {e!r}") from e
            return CODECS[namespace].parse_device_list(payloads[0]) if payloads and len(payloads[0]) else {}

        async def _evaluate_custom_trust_level(self, device):
            return omemo.TrustLevel.TRUSTED

        async def _make_trust_decision(self, undecided, identifier):
            raise omemo.TrustDecisionFailed("blind trust leaves nothing undecided")

        @staticmethod
        async def _send_message(message, bare_jid):
            await io.send_empty(bare_jid, CODECS[message.namespace].serialize_message(message))

    return Manager


class Engine:
    def __init__(self, io, jid, namespaces, path):
        self.io, self.jid, self.namespaces, self.path = io, jid, namespaces, path
        self.lock = asyncio.Lock()      # the manager's ratchets are not safe to use from two tasks at once
        self.known = set()
        self.manager = None
        self.device_id = 0

    async def start(self):
        storage = FileStorage(self.path)
        backends = [BACKENDS[ns](storage) for ns in self.namespaces]
        self.manager = await session_manager(self.io).create(backends, storage, self.jid, None, "blind")
        await self.manager.after_history_sync()     # until then it would confirm no session
        self.device_id = (await self.manager.get_own_device_information())[0].device_id

    async def on_device_list(self, namespace, jid, element):
        """Takes a pushed list; returns the device ids in it."""
        devices = CODECS[namespace].parse_device_list(element) if len(element) else {}
        if namespace in self.namespaces:
            async with self.lock:
                self.known.add((namespace, jid))
                await self.manager.update_device_list(namespace, jid, devices)
        return sorted(devices)

    async def refresh(self, jids, namespaces=None):
        """Fetches device lists; of each person one must be there. Prosody says of a list that does not exist that it is forbidden."""
        for jid in jids:
            failures = []
            for ns in namespaces or self.namespaces:
                try:
                    await self.manager.refresh_device_list(ns, jid)
                    self.known.add((ns, jid))
                except omemo.DeviceListDownloadFailed as e:
                    failures.append(e)
            if len(failures) == len(namespaces or self.namespaces):
                raise failures[0]

    async def exchange_anew(self, jid, device, times):
        """Gives up the sessions with a device `times` times over, each time with a new key exchange in an empty message."""
        failed = []
        for _ in range(times):
            async with self.lock:
                known = next((d for d in await self.manager.get_device_information(jid) if d.device_id == device), None)
                if known is None:
                    raise ValueError(f"{jid} has no device {device}")
                failed += [repr(e) for e in (await self.manager.replace_sessions(known)).values()]
        return failed

    def for_us(self, sealed):
        """Of several sealed elements the one for this device, else the first."""
        def keys(element):
            if element.tag.startswith("{" + V2):
                return [k for keys in element.iter(f"{{{V2}}}keys") if keys.get("jid") == self.jid for k in keys]
            return element.iter(f"{{{LEGACY}}}key")
        mine = [e for e in sealed if any(k.get("rid") == str(self.device_id) for k in keys(e))]
        return (mine or sealed)[0]

    async def devices(self, jid):
        async with self.lock:
            return [{"id": d.device_id, "active": any(active for _, active in d.active), "namespaces": sorted(d.namespaces), "key": d.identity_key.hex()}
                    for d in await self.manager.get_device_information(jid)]

    async def encrypt(self, recipients, body, namespaces, room, refresh, skip, inside=()):
        """Returns (namespace, <encrypted/>) for each namespace; fails when a recipient has no device, as strict clients do, or skips it."""
        async with self.lock:
            for jid in list(recipients):
                try:
                    if refresh or any((ns, jid) not in self.known for ns in namespaces):
                        await self.refresh([jid], namespaces)
                    found = await self.manager.get_device_information(jid) if skip else ()
                    usable = not skip or any(active and ns in namespaces for d in found for ns, active in d.active)
                except omemo.DeviceListDownloadFailed:
                    if not skip:
                        raise
                    usable = False
                if not usable:
                    recipients.remove(jid)
            plain = {}
            if LEGACY in namespaces:
                plain[LEGACY] = body.encode()
            if V2 in namespaces:
                plain[V2] = self._envelope(body, room, inside)
            messages, errors = await self.manager.encrypt(frozenset(recipients), plain, namespaces)
        return [(m.namespace, CODECS[m.namespace].serialize_message(m)) for m in messages], [repr(e) for e in errors]

    def _envelope(self, body, room, inside):
        """XEP-0420 envelope of a text and other elements, padded as its section 5 asks."""
        envelope = ET.Element(SCE + "envelope")
        content = ET.SubElement(envelope, SCE + "content")
        if body is not None:
            ET.SubElement(content, "{jabber:client}body").text = body
        content.extend(ET.fromstring(element) for element in inside)
        ET.SubElement(envelope, SCE + "rpad").text = os.urandom(8 + os.urandom(1)[0] % 50).hex()
        ET.SubElement(envelope, SCE + "from", jid=self.jid)
        if room:
            ET.SubElement(envelope, SCE + "to", jid=room)
        return ET.tostring(envelope)

    async def decrypt(self, element, sender, room):
        """Returns (text or None, sending device id, content of an OMEMO 2 envelope as XML); room is None outside of rooms."""
        namespace = element.tag[1:].split("}")[0]
        async with self.lock:
            if namespace == LEGACY:
                message = await oldmemo.etree.parse_message(element, sender, self.jid, self.manager)
            else:
                message = twomemo.etree.parse_message(element, sender)
            plain, device, _ = await self.manager.decrypt(message)
        if plain is None or namespace == LEGACY:
            return None if plain is None else plain.decode(), device.device_id, ""
        content = envelope_content(ET.fromstring(plain), sender, room)
        return content.findtext("{jabber:client}body"), device.device_id, ET.tostring(content, encoding="unicode")


def envelope_content(envelope, sender, room):
    """What an XEP-0420 envelope holds, after the checks that XEP-0384 asks for."""
    affix = {name: envelope.find(SCE + name) for name in ("content", "rpad", "from", "to")}
    if envelope.tag != SCE + "envelope" or affix["content"] is None or affix["rpad"] is None or affix["from"] is None:
        raise ValueError("the envelope lacks what OMEMO asks for")
    if affix["from"].get("jid").split("/")[0] != sender:
        raise ValueError(f"the envelope is from {affix['from'].get('jid')}, the message from {sender}")
    if room and (affix["to"] is None or affix["to"].get("jid") != room):
        raise ValueError(f"the envelope is not for {room}")
    return affix["content"]
