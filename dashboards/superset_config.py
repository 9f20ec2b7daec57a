"""Superset's settings. ``gtm dashboards`` starts it with them and says in the environment where its files lie.

This module is imported by Superset, in Superset's own environment: nothing of the project's can be imported, but
for the theme, which needs nothing but Python.
"""

import os
import runpy
from datetime import timedelta
from pathlib import Path

_FOLDER = Path(os.environ["SUPERSET_HOME"])
_THEME = runpy.run_path(str(Path(__file__).parents[1] / "gtm_assets" / "reporting" / "theme.py"))
_LIGHT, _DARK = _THEME["LIGHT"], _THEME["DARK"]

APP_NAME = "GTM dashboards"
SECRET_KEY = os.environ["SUPERSET_SECRET_KEY"]
SQLALCHEMY_DATABASE_URI = f"sqlite:///{_FOLDER / 'superset.sqlite'}?check_same_thread=false&timeout=60"

# -- who may do what --------------------------------------------------------------------------------------------

# gtm dashboards makes users, roles and row rules by the REST API.
FAB_ADD_SECURITY_API = True
AUTH_ROLE_PUBLIC = "Public"
AUTH_USER_REGISTRATION = False
FEATURE_FLAGS = {
    # Datasets ask who looks, and mask personal data by it.
    "ENABLE_TEMPLATE_PROCESSING": True,
    # A condition of a reader's own may not read another table.
    "ALLOW_ADHOC_SUBQUERY": False,
    # A dashboard is opened by the roles that it names.
    "DASHBOARD_RBAC": True,
    "EMBEDDED_SUPERSET": True,
    "ALERT_REPORTS": False,
}
GUEST_ROLE_NAME = "Public"
GUEST_TOKEN_JWT_SECRET = SECRET_KEY
GUEST_TOKEN_JWT_AUDIENCE = "gtm-dashboards"
GUEST_TOKEN_JWT_EXP_SECONDS = 300
# Of guesses at a password: no more than five in a second. A dashboard asks for many charts at a time.
RATELIMIT_ENABLED = True
RATELIMIT_APPLICATION = "500 per second"
AUTH_RATE_LIMITED = True
AUTH_RATE_LIMIT = "5 per second"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
PERMANENT_SESSION_LIFETIME = timedelta(hours=12)

# -- nothing leaves the machine ---------------------------------------------------------------------------------

# A page may ask this server alone: neither Superset's telemetry pixel, nor maps, nor fonts of others.
TALISMAN_ENABLED = True
TALISMAN_CONFIG = {
    "content_security_policy": {
        "default-src": ["'self'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": "'none'",
        "style-src": ["'self'", "'unsafe-inline'"],
        "font-src": ["'self'", "data:"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    # On the loopback there is no TLS.
    "force_https": False,
    "session_cookie_secure": False,
}
THEME_FONT_URL_ALLOWED_DOMAINS: list[str] = []
ENABLE_UI_THEME_ADMINISTRATION = False

# -- cache ------------------------------------------------------------------------------------------------------


def _cache(name: str, lifetime: timedelta) -> dict[str, object]:
    """A cache in files, which the server's processes share."""
    return {
        "CACHE_TYPE": "FileSystemCache",
        "CACHE_DIR": str(_FOLDER / "cache" / name),
        "CACHE_DEFAULT_TIMEOUT": int(lifetime.total_seconds()),
        "CACHE_THRESHOLD": 5_000,
        "CACHE_KEY_PREFIX": f"{name}_",
    }


# What is published changes once a day or each hour: after five minutes a chart asks anew.
DATA_CACHE_CONFIG = _cache("data", timedelta(minutes=5))
CACHE_CONFIG = _cache("metadata", timedelta(minutes=5))
FILTER_STATE_CACHE_CONFIG = _cache("filters", timedelta(days=90))
EXPLORE_FORM_DATA_CACHE_CONFIG = _cache("explore", timedelta(days=7))

# -- how it looks -----------------------------------------------------------------------------------------------


def _theme(palette: dict[str, str], algorithm: str) -> dict[str, object]:
    return {
        "token": {
            "brandAppName": APP_NAME,
            "brandLogoAlt": APP_NAME,
            "brandLogoUrl": "/static/assets/images/superset-logo-horiz.png",
            "brandLogoMargin": "18px 0",
            "brandLogoHref": "/",
            "brandLogoHeight": "24px",
            "colorPrimary": palette["accent"],
            "colorLink": palette["accent"],
            "colorInfo": palette["accent"],
            "colorSuccess": palette["good"],
            "colorWarning": palette["second"],
            "colorError": palette["bad"],
            "colorTextBase": palette["ink"],
            "colorBgBase": palette["card"],
            "fontUrls": [],
            "fontFamily": _THEME["FONT"],
        },
        "algorithm": algorithm,
    }


THEME_DEFAULT = _theme(_LIGHT, "default")
THEME_DARK = _theme(_DARK, "dark")
EXTRA_CATEGORICAL_COLOR_SCHEMES = [
    {
        "id": "gtm",
        "label": "GTM",
        "description": "The colours of the report's pages.",
        "isDefault": True,
        "colors": [_LIGHT[name] for name in _THEME["SERIES"]],
    }
]
