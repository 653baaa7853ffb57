"""Certificates for the parts of a test that are not our proxy: peers with good, bad, foreign and expired ones."""

import datetime
import glob
import hashlib
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

UTC = datetime.timezone.utc


def _pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)])


class Identity:
    """A leaf with its key, in files: .chain, .key, .roots."""

    def __init__(self, directory, certificate, key, intermediates, roots_pem):
        self.certificate = certificate
        self.serial = certificate.serial_number
        tag = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()[:16]
        self.chain, self.key, self.roots = (f"{directory}/{tag}.{end}" for end in ("chain.pem", "key.pem", "roots.pem"))
        with open(self.chain, "wb") as file:
            for each in (certificate, *intermediates):
                file.write(each.public_bytes(serialization.Encoding.PEM))
        with open(self.key, "wb") as file:
            file.write(_pem(key))
        with open(self.roots, "wb") as file:
            file.write(roots_pem)


def _install(path, data):
    """Aside, then renamed: readers see the old or the new, whole."""
    with open(f"{path}.new", "wb") as file:
        file.write(data)
    os.rename(f"{path}.new", path)


class Folder:
    """Certificates in files, one folder per identity, as GAUZE_CERT_DIR wants them."""

    def __init__(self, path):
        self.path = path
        os.makedirs(path, mode=0o700)

    def of(self, uri):
        domain, _, namespace, _, account = uri.removeprefix("spiffe://").split("/")
        return f"{self.path}/{domain}/{namespace}/{account}"

    def put(self, uri, identity):
        """The identity's chain and key, for that name."""
        folder = self.of(uri)
        os.makedirs(folder, exist_ok=True)
        for name, source in (("root-cert", identity.roots), ("cert-chain", identity.chain), ("key", identity.key)):
            with open(source, "rb") as file:
                _install(f"{folder}/{name}.pem", file.read())
        return identity


class Authority:
    """An issuing key and the chain above it, root last."""

    def __init__(self, directory, key, chain):
        self.directory = directory
        self.key = key
        self.chain = chain
        self.roots_pem = chain[-1].public_bytes(serialization.Encoding.PEM)
        os.makedirs(directory, exist_ok=True)

    @classmethod
    def new(cls, directory, name="cluster.local"):
        """A root of its own, unknown to everybody else."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(directory, key, [cls._ca_certificate(name, key.public_key(), name, key)])

    @staticmethod
    def _ca_certificate(name, public, issuer, issuer_key):
        now = datetime.datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(issuer if isinstance(issuer, x509.Name) else _name(issuer))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )

    @classmethod
    def load(cls, directory, certificates, key):
        """From PEM files: certificates (issuing one first, root last) and the issuing key."""
        with open(certificates, "rb") as file:
            chain = x509.load_pem_x509_certificates(file.read())
        with open(key, "rb") as file:
            return cls(directory, serialization.load_pem_private_key(file.read(), None), chain)

    @classmethod
    def of_mesh(cls, mesh):
        """The development CA that the proxies of this mesh use (made by the first of them)."""
        out = f"{mesh.dir}/issued"
        if "GAUZE_TEST_CA_CERT" in os.environ:
            return cls.load(out, os.environ["GAUZE_TEST_CA_CERT"], os.environ["GAUZE_TEST_CA_KEY"])
        certificates, keys = {}, []
        for path in glob.glob(f"{mesh.ca_dir}/**/*.pem", recursive=True):
            with open(path, "rb") as file:
                data = file.read()
            if b"PRIVATE KEY" in data:
                keys.append(serialization.load_pem_private_key(data, None))
            if b"BEGIN CERTIFICATE" in data:
                for one in x509.load_pem_x509_certificates(data):
                    certificates[one.subject] = one
        issuing = [one for one in certificates.values() if one.issuer != one.subject] or list(certificates.values())
        for one in issuing:
            for key in keys:
                if key.public_key() == one.public_key():
                    chain = [one]
                    while chain[-1].issuer != chain[-1].subject:
                        chain.append(certificates[chain[-1].issuer])
                    return cls(out, key, chain)
        raise AssertionError(f"no usable CA in {mesh.ca_dir}: {os.listdir(mesh.ca_dir)}")

    def intermediate(self, name="intermediate"):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._ca_certificate(name, key.public_key(), self.chain[0].subject, self.key)
        return Authority(self.directory, key, [certificate, *self.chain])

    def issue(self, uris, lifetime=datetime.timedelta(hours=1), starts=None, usages=None, dns=(), key_id=True):
        """A leaf for one URI or several; usages None = both client and server. key_id: it names its issuer's key."""
        key = ec.generate_private_key(ec.SECP256R1())
        starts = starts or datetime.datetime.now(UTC) - datetime.timedelta(minutes=5)
        uris = [uris] if isinstance(uris, str) else list(uris)
        names = [x509.UniformResourceIdentifier(uri) for uri in uris] + [x509.DNSName(name) for name in dns]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.chain[0].subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(starts)
            .not_valid_after(starts + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(True, False, True, False, False, False, False, False, False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(usages or [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
        )
        if key_id:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            builder = builder.add_extension(issuer, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        certificate = builder.sign(self.key, hashes.SHA256())
        return Identity(self.directory, certificate, key, self.chain[:-1], self.roots_pem)

    def crl(self, serials=(), der=False):
        """A revocation list of the issuing CA."""
        now = datetime.datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.chain[0].subject)
        builder = builder.last_update(now - datetime.timedelta(minutes=5)).next_update(now + datetime.timedelta(days=1))
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        form = serialization.Encoding.DER if der else serialization.Encoding.PEM
        return builder.sign(self.key, hashes.SHA256()).public_bytes(form)
