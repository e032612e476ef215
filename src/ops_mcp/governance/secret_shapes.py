"""What secrets look like: the prefixes and forms of known issuers, and the names that values are secret under. Data only."""

import re
from functools import lru_cache
from typing import NamedTuple


class Shape(NamedTuple):
    """A form of secret. Unless one of `marks` occurs in the text, the pattern is not tried; patterns that begin with `(?i)`
    ignore case, and so do their marks, which are written in lower case.

    Patterns stay linear: after a prefix that they alone begin with, one run of a character class, and nothing that could
    fail behind an unbounded run. They ask for no word boundary in front, for secrets get glued to other text. The first
    group is the secret where there is one, else the whole match.
    """

    name: str
    marks: tuple[str, ...]
    pattern: str

    @property
    def any_case(self) -> bool:
        return self.pattern.startswith("(?i)")


SHAPES: tuple[Shape, ...] = (
    Shape("ops-mcp", ("opsmcp_",), r"opsmcp_[\w-]{16,}"),
    Shape("github", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{20,}"),
    Shape("github", ("github_pat_",), r"github_pat_\w{20,}"),
    Shape("gitlab", ("glpat", "gldt", "glrt", "glptt"), r"gl(?:pat|dt|rt|ptt)-[\w.-]{20,}"),
    Shape("gitlab", ("glcbt", "glffct", "glft", "glimt"), r"gl(?:cbt|ffct|ft|imt)-[\w.-]{20,}"),
    Shape("gitlab", ("glagent", "gloas", "glsoat"), r"gl(?:agent|oas|soat)-[\w.-]{20,}"),
    Shape("gitlab", ("GR1348941", "_gitlab_session"), r"GR1348941[\w-]{20,}|_gitlab_session=(\w{32,})"),
    Shape("slack", ("xox", "xapp-"), r"(?i)(?:xox[a-z](?:\.xox[a-z])?|xapp)-[a-z0-9-]{8,}"),
    Shape("slack-webhook", ("hooks.slack",), r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9+/_-]{20,})"),
    Shape("stripe", ("k_test_", "k_live_", "k_prod_", "whsec_"), r"(?:[sr]k_(?:test|live|prod)|whsec)_[A-Za-z0-9+/=]{10,}"),
    Shape("freemius", ("sk_",), r"(?i)secret_key[\"'\s]{1,4}=>[\"'\s]{1,4}(sk_[^\s\"']{20,})"),
    Shape("anthropic", ("sk-ant-",), r"sk-ant-[\w-]{20,}"),
    Shape("openai", ("sk-",), r"sk-(?:proj-|svcacct-|admin-|or-)?[\w-]{20,}"),
    Shape("ai", ("gsk_", "xai-", "pplx-", "r8_", "hf_"), r"(?:gsk_|xai-|pplx-|r8_|hf_)[A-Za-z0-9]{30,}"),
    Shape("huggingface", ("api_org_",), r"api_org_[A-Za-z]{30,}"),
    Shape("google", ("AIza", "ya29.", "GOCSPX-"), r"AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}"),
    Shape("aws", ("AKIA", "ASIA", "ABIA", "ACCA", "A3T"), r"(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    Shape("aws-bedrock", ("ABSK", "bedrock-api"), r"ABSK[A-Za-z0-9+/=]{100,}|bedrock-api-key-[A-Za-z0-9+/=]{20,}"),
    Shape("jwt", ("ZXlK",), r"ZXlK[A-Za-z0-9+/=_-]{20,}"),
    Shape("npm", ("npm_",), r"(?i)npm_[a-z0-9]{36,}"),
    Shape("pypi", ("pypi-",), r"pypi-[\w-]{50,}"),
    Shape("vercel", ("vcp_", "vck_", "vci_", "vca_", "vcr_"), r"vc[pkiar]_[A-Za-z0-9]{20,}"),
    Shape("1password", ("A3-", "ops_eyJ"), r"A3-(?:[A-Z0-9]{5,11}-){4,5}[A-Z0-9]{5}|ops_eyJ[A-Za-z0-9+/=_-]{100,}"),
    Shape("adobe", ("p8e-",), r"p8e-[A-Za-z0-9]{32}"),
    Shape("age", ("age-secret-key-1",), r"(?i)AGE-SECRET-KEY-1[a-z0-9]{50,}"),
    Shape("airtable", ("pat",), r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    Shape("alibaba", ("LTAI",), r"LTAI[A-Za-z0-9]{20}"),
    Shape("artifactory", ("AKCp", "cmVmd"), r"AKCp[A-Za-z0-9]{60,}|cmVmd[A-Za-z0-9]{55,}"),
    Shape(
        "authress", (".acc",), r"(?:sc|ext|scauth|authress)_[a-z0-9A-Z]{5,30}\.[a-zA-Z0-9]{4,6}\.acc[_-][a-zA-Z0-9.+/_=-]{30,}"
    ),
    Shape("azure", ("Q~",), r"[\w~.]{3}\dQ~[\w~.-]{31,34}"),
    Shape("clickhouse", ("4b1d",), r"4b1d[A-Za-z0-9]{38}"),
    Shape("clojars", ("clojars_",), r"(?i)clojars_[a-z0-9]{50,}"),
    Shape("cloudflare", ("v1.0-",), r"v1\.0-[a-f0-9]{24}-[a-f0-9]{100,}"),
    Shape("databricks", ("dapi",), r"dapi[a-f0-9]{32}(?:-\d)?"),
    Shape("digitalocean", ("_v1_",), r"(?i)do[opr]_v1_[a-f0-9]{64}"),
    Shape("docker", ("dckr_",), r"dckr_[op]at_[\w-]{20,}"),
    Shape("doppler", ("dp.",), r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{40,}"),
    Shape("duffel", ("duffel_",), r"duffel_(?:test|live)_[\w=-]{40,}"),
    Shape("dynatrace", ("dt0c01.",), r"dt0c01\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{64}"),
    Shape("easypost", ("EZAK", "EZTK"), r"EZ[AT]K[A-Za-z0-9]{54}"),
    Shape("facebook", ("EAAM", "EAAC", "|", "%"), r"EAA[MC][A-Za-z0-9]{100,}|\d{15,16}[|%][\w-]{27,40}"),
    Shape("flutterwave", ("FLWSECK", "FLWPUBK"), r"FLW(?:SECK|PUBK)(?:_TEST)?-[A-Za-z0-9]{12,}(?:-X)?"),
    Shape("fly", ("fo1_", "fm1", "fm2_"), r"fo1_[\w-]{43}|fm(?:1[ar]|2)_[A-Za-z0-9+/=]{100,}"),
    Shape("frameio", ("fio-u-",), r"fio-u-[\w=-]{60,}"),
    Shape("grafana", ("glc_", "glsa_"), r"(?i)glc_[a-z0-9+/=]{32,}|glsa_[a-z0-9]{32}_[a-f0-9]{8}"),
    Shape("grafana", ("eyjrijoi",), r"(?i)eyJrIjoi[a-z0-9+/=]{60,}"),
    Shape("harness", ("pat.", "sat."), r"[ps]at\.[\w-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{20}"),
    Shape("terraform", ("atlasv1",), r"(?i)(?:[a-z0-9]{14})?\.atlasv1\.[\w=-]{50,}"),
    Shape("heroku", ("HRKU-",), r"HRKU-[\w-]{40,}"),
    Shape("infracost", ("ico-",), r"ico-[A-Za-z0-9]{32}"),
    Shape("intra42", ("s-s4t2",), r"s-s4t2(?:ud|af)-[A-Fa-f0-9]{64}"),
    Shape("linear", ("lin_",), r"lin_(?:api|oauth)_[A-Za-z0-9]{40,}"),
    Shape("maxmind", ("_mmk",), r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk"),
    Shape("teams-webhook", ("webhook.office",), r"webhook\.office\.com/webhookb2/([\w@/-]{36,})"),
    Shape("notion", ("ntn_", "secret_"), r"ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43}"),
    Shape("nuget", ("<add key=",), r"(?i)<add key=\"(?:cleartext)?password\"\s{0,8}value=\"([^\"]{1,512})\""),
    Shape("octopus", ("API-",), r"API-[A-Z0-9]{26}"),
    Shape("openshift", ("sha256~",), r"sha256~[\w-]{43}"),
    Shape("planetscale", ("pscale_",), r"(?i)pscale_(?:tkn|oauth|pw)_[\w=.-]{32,}"),
    Shape("postman", ("PMAK-",), r"PMAK-[A-Fa-f0-9]{24}-[A-Fa-f0-9]{34}"),
    Shape("prefect", ("pnu_", "pnb_"), r"pn[ub]_[A-Za-z0-9]{36}"),
    Shape("pulumi", ("pul-",), r"pul-[a-f0-9]{40}"),
    Shape("readme", ("rdme_",), r"rdme_[a-z0-9]{70}"),
    Shape("rubygems", ("rubygems_",), r"rubygems_[a-f0-9]{48}"),
    Shape("scalingo", ("tk-us-",), r"tk-us-[\w-]{48}"),
    Shape("sendgrid", ("SG.",), r"SG\.[\w=.-]{60,}"),
    Shape("sendinblue", ("xkeysib-",), r"xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    Shape("sentry", ("sntry",), r"sntry[su]_[A-Za-z0-9+/=_-]{40,}"),
    Shape("settlemint", ("sm_",), r"sm_[aps]at_[A-Za-z0-9]{16}"),
    Shape("shippo", ("shippo_",), r"shippo_(?:live|test)_[A-Fa-f0-9]{40}"),
    Shape("shopify", ("shpat_", "shpca_", "shppa_", "shpss_"), r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}"),
    Shape("sourcegraph", ("sgp_",), r"(?i)sgp_(?:(?:[a-f0-9]{16}|local)_)?[a-f0-9]{40}"),
    Shape("square", ("sq0", "EAAA"), r"(?:sq0[a-z]{3}-|EAAA)[\w-]{22,}"),
    Shape("supabase", ("sbp_", "sb_secret_"), r"(?:sbp|sb_secret)_[\w-]{20,}"),
    Shape("twilio", ("SK",), r"SK[0-9a-fA-F]{32}"),
    Shape("vault", ("hvs.", "hvb."), r"hv[sb]\.[\w-]{20,}"),
    Shape("vault", ("s.",), r"(?<![\w.])s\.[A-Za-z0-9]{24}(?![\w.])"),
    Shape("atlassian", ("ATATT3", "ATCTT3"), r"AT[AC]TT3[\w=-]{50,}"),
    Shape("newrelic", ("NRAK-",), r"NRAK-[A-Z0-9]{27}"),
)
"""Forms with a prefix of their own. None is shorter than 13 characters, which lets plain prose pass at once."""

MARKED = "[REDACTED:"
SHORTEST_SHAPE = 13

_PASSWORDS = r"passw(?:or)?d|passwd|passphrase|pwd"
_TOKENS = (
    r"secret|credentials?|token|(?<![a-z])auth(?![a-z])|(?:api|app|access|private|secret|signing|encryption|client|account|service|auth|license"
    r"|insert|user|admin|shared|global|master|storage|deploy)[ _.-]?key"
)
_GAP = r"[\w.-]{0,40}[\"'`\\ \t]{0,4}(?::{1,3}=|=>|\?=|\|\||[:=>])[\"'`\\ \t=]{0,5}"
_NOT_YET = r"(?!\[REDACTED:)"
_QUOTES = r"[\"'\\\s]{0,4}"
_QUOTED = r"[^\s\"'`,;&\\][^\"'`\n\r]{0,255}(?=[\"'`])"
_HARMLESS = r"(?!\d{1,12}(?:\.\d{1,6})?(?:[\s,;.)}\]%]|$)|(?:true|false|null|none|bearer|basic)\b)"

_VENDORS = ("meraki", "cohere", "co_api_key", "okta", "privateai", "private_ai", "private-ai", "sumo")

NAMED: tuple[Shape, ...] = (
    Shape(
        "authorization",
        ("authorization",),
        rf"(?i)authorization{_QUOTES}[:=]{_QUOTES}(?![a-z]{{3,12}}[ \t]{{1,3}}\[REDACTED:)(?:[a-z]{{3,12}}[ \t]{{1,3}})?"
        rf"{_NOT_YET}([^\s\"'\\,;]{{6,4096}})",
    ),
    Shape("authorization", ("bearer",), rf"(?i)bearer[ \t:=]{{1,3}}{_NOT_YET}([\w.~+/=|-]{{16,}})"),
    Shape("authorization", ("basic",), r"(?i)basic[ \t]{1,3}([a-z0-9+/]{16,}={0,2}|[a-z0-9+/]{6,}={1,2})"),
    Shape("url-password", ("://",), rf"(?i)://[^\s/@:\"'<>]{{0,128}}:{_NOT_YET}([^\s/@\"'<>]{{1,256}})@"),
    Shape("url-user", ("://",), rf"(?i)://{_NOT_YET}([^\s/@:\"'<>]{{20,256}})@"),
    Shape(
        "curl",
        ("curl",),
        r"(?i)curl[\s\S]{0,512}?\s(?:-u|--user)(?:[ \t=]{0,3}[\"']?(?=\S{0,256}:)|[ \t=]{1,3}[\"']?)"
        rf"{_NOT_YET}(\S{{3,512}})",
    ),
    Shape(
        "header",
        ("-h", "--header"),
        r"(?i)(?:-h|--header)[ \t=]{0,3}[\"']{0,2}[\w-]{0,40}(?:key|token|auth|secret)[\w-]{0,20}:[ \t]{0,4}"
        rf"{_NOT_YET}([^\s\"']{{4,512}})",
    ),
    Shape("named", _VENDORS, rf"(?i)(?:{'|'.join(_VENDORS)})(?:{_GAP}|,){_NOT_YET}([\w=-]{{12,512}})"),
    Shape("password", ("pass", "pwd"), rf"(?i)(?:{_PASSWORDS}){_GAP}{_NOT_YET}({_QUOTED}|[^\s\"'`,;&\\]{{1,512}})"),
    Shape(
        "named",
        ("secret", "token", "key", "cred", "auth"),
        rf"(?i)(?:{_TOKENS}){_GAP}{_NOT_YET}{_HARMLESS}([^\s\"'`,;&\\(){{}}\[\]]{{6,512}})",
    ),
)
"""Values that are secret because of what stands before them."""

_SECRET_NAMES = (
    "password", "passwd", "pwd", "passphrase", "secret", "token", "credential", "credentials", "authorization", "cookie",
    "apikey", "accesskey", "privatekey", "secretkey", "signingkey", "encryptionkey", "clientkey", "accountkey", "sharedkey",
    "masterkey", "licensekey", "authkey", "accesskeyid", "webhookurl", "connectionstring",
)  # fmt: skip


@lru_cache(maxsize=256)
def compiled(shape: Shape) -> re.Pattern[str]:
    """The pattern, compiled when it is first needed: most never are, and start-up is short.

    It matches what was redacted before as a whole and first, so that nothing is looked for inside.
    """
    flags = re.IGNORECASE if shape.any_case else 0
    return re.compile(rf"\[REDACTED:[^\]\s]{{1,80}}:[0-9a-f]{{8}}\]|(?:{shape.pattern.removeprefix('(?i)')})", flags)


def occurs(shape: Shape, text: str) -> bool:
    """Whether the shape may be in `text` at all."""
    return holds_any(text.lower() if shape.any_case else text, shape.marks)


def holds_any(text: str, marks: tuple[str, ...]) -> bool:
    """Whether one of `marks` is in `text`. A bare loop is the fastest that Python has; every clean text pays for it."""
    for mark in marks:  # noqa: SIM110  `any` over a generator takes twice as long
        if mark in text:
            return True
    return False


@lru_cache(maxsize=2048)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret, in whatever case and with whatever separators it is written."""
    return name.lower().replace("_", "").replace("-", "").replace(".", "").replace(" ", "").endswith(_SECRET_NAMES)
