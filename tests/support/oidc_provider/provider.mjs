// An OpenID provider on this machine for tests: oidc-provider, configured and served. Its pages let anybody log in under
// any name; what a name may do, ROLES says. Access tokens are JWTs: resource `urn:test:ALG` is signed with that
// algorithm, and so is `urn:test:ALG:elsewhere`, whose audience is another one.
//
// From the environment: PROVIDER (the installed module), PORT, JWKS (private keys), AUDIENCE, ROLES (name to list).
import http from 'node:http'

const { default: Provider } = await import(process.env.PROVIDER)
const { PORT, JWKS, AUDIENCE, ROLES } = process.env
const LIFE_S = 600
const issuer = `http://127.0.0.1:${PORT}`
const roles = JSON.parse(ROLES)
const client = (client_id, changes) => ({ client_id, redirect_uris: [], response_types: [], ...changes })
const robots = Object.keys(roles).map((name) => client(name, {
  grant_types: ['client_credentials'], client_secret: 'secret', token_endpoint_auth_method: 'client_secret_post'
}))

const provider = new Provider(issuer, {
  jwks: JSON.parse(JWKS),
  clients: [
    client('shardctl', {
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code'], token_endpoint_auth_method: 'none',
      application_type: 'native'
    }),
    ...robots
  ],
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  extraTokenClaims: (_, token) => ({ roles: roles[token.accountId ?? token.clientId] ?? [] }),
  cookies: { keys: ['for tests'] },
  ttl: { AccessToken: LIFE_S, ClientCredentials: LIFE_S, DeviceCode: 60, Session: 60, Grant: 60, Interaction: 60 },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:test:RS256',
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        scope: 'operate',
        audience: resource.endsWith(':elsewhere') ? 'elsewhere' : AUDIENCE,
        accessTokenTTL: LIFE_S,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: resource.split(':')[2] } }
      })
    }
  }
})
provider.on('server_error', (_, error) => console.error(error))
http.createServer(provider.callback()).listen(Number(PORT), '127.0.0.1', () => console.log('ready'))
