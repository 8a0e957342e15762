-- Keys are forgotten after a while. They come in the order of time, so a range of pages is enough to find the old ones.
CREATE INDEX idempotency_recorded_at ON idempotency USING brin (recorded_at) WITH (pages_per_range = 32, autosummarize = on);
