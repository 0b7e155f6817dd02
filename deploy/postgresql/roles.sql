-- The vault's roles, in its own database, by a superuser. Harmless when repeated: run it again for new passwords.
-- What each may do with the tables comes with the tables: `dispenser init` grants it, as vault_operator.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY[
        'vault_operator', 'vault_serve', 'vault_gateway', 'vault_refresher', 'vault_scheduler', 'vault_janitor'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE 'CREATE ROLE ' || role || ' LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT';
        END IF;
        EXECUTE 'GRANT CONNECT ON DATABASE ' || quote_ident(current_database()) || ' TO ' || role;
        EXECUTE 'GRANT USAGE ON SCHEMA public TO ' || role;
    END LOOP;
    EXECUTE 'REVOKE ALL ON DATABASE ' || quote_ident(current_database()) || ' FROM PUBLIC';
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    GRANT CREATE ON SCHEMA public TO vault_operator;
END
$$;
ALTER ROLE vault_operator PASSWORD '${POSTGRES_OPERATOR_PASSWORD}';
ALTER ROLE vault_serve PASSWORD '${POSTGRES_SERVE_PASSWORD}';
ALTER ROLE vault_gateway PASSWORD '${POSTGRES_GATEWAY_PASSWORD}';
ALTER ROLE vault_refresher PASSWORD '${POSTGRES_REFRESHER_PASSWORD}';
ALTER ROLE vault_scheduler PASSWORD '${POSTGRES_SCHEDULER_PASSWORD}';
ALTER ROLE vault_janitor PASSWORD '${POSTGRES_JANITOR_PASSWORD}';
