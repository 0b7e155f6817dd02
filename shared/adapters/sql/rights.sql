-- What each process's role may do, renewed with every migration; a role that is not there is passed over.
-- `deploy/postgresql/roles.sql` makes the roles.
DO $$
DECLARE
    -- Role, privileges, tables.
    rights text[][] := ARRAY[
        ARRAY['vault_serve', 'SELECT', 'alembic_version, catalogue, providers, services, agents, policies, issuers'],
        ARRAY['vault_serve', 'SELECT', 'grants, revocations'],
        ARRAY['vault_serve', 'SELECT, INSERT', 'transport_keys'],

        ARRAY['vault_gateway', 'SELECT', 'alembic_version, catalogue, providers, services, agents, policies, issuers'],
        ARRAY['vault_gateway', 'SELECT', 'grants, revocations, admins, audit_log'],
        ARRAY['vault_gateway', 'SELECT, INSERT', 'enrolments, transport_keys'],
        ARRAY['vault_gateway', 'SELECT, INSERT, DELETE', 'consents'],
        -- What admins revoke there.
        ARRAY['vault_gateway', 'UPDATE (version)', 'catalogue'],
        ARRAY['vault_gateway', 'UPDATE (revoked_at)', 'agents'],
        ARRAY['vault_gateway', 'INSERT, UPDATE', 'revocations'],
        ARRAY['vault_gateway', 'UPDATE (state, generation, updated_at, sealed_credential, credential_fingerprint, '
            'sealed_token, token_expires_at, refresh_at, announced_until, credential_expires_at, warn_at)', 'grants'],
        ARRAY['vault_gateway', 'INSERT', 'handbacks'],
        ARRAY['vault_gateway', 'SELECT, INSERT', 'outbox'],
        ARRAY['vault_gateway', 'USAGE', 'SEQUENCE outbox_position_seq'],

        ARRAY['vault_refresher', 'SELECT', 'alembic_version, catalogue, providers, services, agents, policies, issuers'],
        ARRAY['vault_refresher', 'SELECT, INSERT, UPDATE', 'grants, intents'],
        ARRAY['vault_refresher', 'SELECT, UPDATE', 'enrolments'],
        ARRAY['vault_refresher', 'SELECT, INSERT, UPDATE, DELETE', 'handbacks'],
        ARRAY['vault_refresher', 'SELECT, INSERT, DELETE', 'outbox'],
        ARRAY['vault_refresher', 'USAGE', 'SEQUENCE outbox_position_seq'],
        ARRAY['vault_refresher', 'SELECT, INSERT', 'audit_log'],
        ARRAY['vault_refresher', 'SELECT, INSERT, UPDATE', 'audit_tiles'],
        ARRAY['vault_refresher', 'SELECT, UPDATE', 'audit_tree'],

        ARRAY['vault_scheduler', 'SELECT', 'alembic_version, grants, enrolments, handbacks'],
        ARRAY['vault_scheduler', 'UPDATE (announced_until)', 'grants'],

        ARRAY['vault_janitor', 'SELECT', 'alembic_version, catalogue, providers, services, agents, policies, issuers'],
        ARRAY['vault_janitor', 'SELECT, UPDATE', 'grants'],
        ARRAY['vault_janitor', 'SELECT, UPDATE, DELETE', 'intents'],
        ARRAY['vault_janitor', 'SELECT, INSERT, DELETE', 'outbox'],
        ARRAY['vault_janitor', 'USAGE', 'SEQUENCE outbox_position_seq'],
        ARRAY['vault_janitor', 'SELECT, DELETE', 'revocations, enrolments'],
        ARRAY['vault_janitor', 'SELECT (expires_at), DELETE', 'consents'],
        ARRAY['vault_janitor', 'SELECT (expires_at), DELETE', 'transport_keys'],
        ARRAY['vault_janitor', 'SELECT, INSERT, DELETE', 'audit_log'],
        ARRAY['vault_janitor', 'SELECT, INSERT, UPDATE', 'audit_tiles'],
        ARRAY['vault_janitor', 'SELECT, UPDATE', 'audit_tree'],
        ARRAY['vault_janitor', 'SELECT, INSERT, DELETE', 'audit_checkpoints']
    ];
    entry text[];
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles
        WHERE rolname IN ('vault_serve', 'vault_gateway', 'vault_refresher', 'vault_scheduler', 'vault_janitor')
    LOOP
        EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA ' || quote_ident(current_schema()) || ' FROM ' || role;
        FOREACH entry SLICE 1 IN ARRAY rights LOOP
            IF entry[1] = role THEN
                EXECUTE 'GRANT ' || entry[2] || ' ON ' || entry[3] || ' TO ' || role;
            END IF;
        END LOOP;
    END LOOP;
END
$$
