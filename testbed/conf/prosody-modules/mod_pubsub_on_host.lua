-- Profanity 0.13 asks the server's domain, not the account, whether PEP can publish with options. A stock Prosody answers for the
-- account only, and Profanity then leaves its OMEMO nodes closed to strangers. With this module the domain answers too.
for _, feature in ipairs({ "http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/pubsub#publish-options" }) do
	module:add_feature(feature);
end
