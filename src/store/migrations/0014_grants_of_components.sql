-- A grant is for a component and its place, and not for a name.
ALTER TABLE plugin_grants ADD COLUMN digest TEXT;
ALTER TABLE plugin_grants ADD COLUMN path TEXT;
