-- What a sender's key stands for: a repeat under it with other content is refused, also after the message was edited or
-- taken back. Missing where there is no key.
ALTER TABLE gate_lines ADD COLUMN digest INTEGER;
