-- A relay that begins asks what was taken out after a position, a page at a time.
CREATE INDEX detached_position ON detached (position);
