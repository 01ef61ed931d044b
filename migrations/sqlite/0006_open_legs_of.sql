-- A dispatcher reads each tenant's open legs by themselves, so that the queue of one does not slow another down.
CREATE INDEX legs_open_of ON legs (app, tenant, id) WHERE state <= 2;
