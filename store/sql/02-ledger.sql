-- v1 -> v2: What operators want to know of deliveries, and people to forget
-- transaction: on

ALTER TABLE delivery ADD COLUMN tried BIGINT; -- when the side was asked last
ALTER TABLE delivery ADD COLUMN ended BIGINT; -- NULL while it is pending
ALTER TABLE delivery ADD COLUMN problem TEXT; -- what the side said last that went wrong, for operators
ALTER TABLE delivery ADD COLUMN dropped BOOLEAN NOT NULL DEFAULT false; -- dead, and an operator wants nothing more of it
CREATE INDEX delivery_dead ON delivery (network, room, seq) WHERE state = 2 AND NOT dropped;

-- Whom an operator wants forgotten, until the side of each network has done so.
CREATE TABLE forget (
	network TEXT   NOT NULL CHECK (network <> ''), -- whose side is asked
	home    TEXT   NOT NULL, -- the person's own network
	person  BYTEA  NOT NULL CHECK (length(person) > 0),
	asked   BIGINT NOT NULL,
	PRIMARY KEY (network, home, person)
);
