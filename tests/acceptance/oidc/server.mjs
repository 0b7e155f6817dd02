// An OpenID-certified provider for the acceptance tests: strict, in memory, on the loopback interface.
// Of oidc-provider's majors 8 is the one that runs on Node 18, which is Debian 12's, as well as on later ones.
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

import Provider from 'oidc-provider';

const { values: given } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    'client-id': { type: 'string' },
    'client-secret': { type: 'string' },
    'redirect-uri': { type: 'string', multiple: true },
    scope: { type: 'string', multiple: true, default: [] },
    'access-token-seconds': { type: 'string', default: '3600' },
  },
});

const DAY = 24 * 60 * 60;

const configuration = {
  clients: [{
    client_id: given['client-id'],
    client_secret: given['client-secret'],
    redirect_uris: given['redirect-uri'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'client_secret_basic',
    // A native client's loopback addresses match whatever their port is (RFC 8252 §7.3).
    application_type: 'native',
  }],
  scopes: ['openid', 'offline_access', ...given.scope],
  pkce: { methods: ['S256'], required: () => true },
  // A refresh token comes with every consent and outlives the browser's session. Each use spends it, and a
  // spent one that comes back revokes all that came from the consent.
  issueRefreshToken: async () => true,
  expiresWithSession: async () => false,
  rotateRefreshToken: true,
  ttl: {
    AccessToken: Number(given['access-token-seconds']),
    RefreshToken: DAY,
    Grant: DAY,
    Session: DAY,
    Interaction: 600,
    IdToken: 3600,
  },
  features: {
    devInteractions: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    userinfo: { enabled: true },
  },
  cookies: { keys: [randomBytes(32).toString('hex')] },
};

const server = createServer();
server.listen(Number(given.port), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  server.on('request', new Provider(issuer, configuration).callback());
  console.log(JSON.stringify({ issuer, client_id: given['client-id'] }));
});
