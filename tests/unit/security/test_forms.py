"""Emails and passwords have one form each, whatever keyboard they were typed on."""

import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infra.security.characters import find_unseen
from infra.security.email_form import EmailRefused, check_email, earlier_forms, mailed, normal_email
from infra.security.free_text import FreeTextRefused, check_free_text
from infra.security.password_form import PasswordRefused, check_password, normal_password

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
WORDS = st.text(
    st.sampled_from("aAbBjJzZ\u00e9\u00c9\u00df\u1e9e\u01f0\u03a3\u03c3\u03c2\u0416\u0436\u0345\u030c\u0301\u0327.+"),
    min_size=1,
    max_size=20,
)


@given(TEXT | WORDS)
@example("J\u030c")
@example(" \u00a0 a")
@example("\u0130\u0345\u0301")
def test_the_forms_of_an_email_are_fixed_points(text: str) -> None:
    for form in (normal_email, mailed):
        once = form(text)
        assert form(once) == once
    assert normal_email(mailed(text)) == normal_email(text)


@given(TEXT | WORDS)
def test_composition_tells_no_two_emails_apart(text: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert normal_email(composed) == normal_email(decomposed) == normal_email(text)


@given(st.text(st.sampled_from("aAbBjJzZ\u00e9\u00c9\u03a3\u03c3\u0416\u0436\u030c\u0301.+"), max_size=20))
def test_case_tells_no_two_emails_apart(text: str) -> None:
    forms = {normal_email(spelled) for spelled in (text, text.upper(), text.lower(), text.title(), text.swapcase())}
    assert len(forms) == 1


def test_of_all_characters_none_that_is_taken_is_unseen() -> None:
    """By what Unicode says of each, not by our own list of them."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character)[0] == "C" or unicodedata.category(character) in ("Zl", "Zp"):
            assert find_unseen(f"a{character}b") == f"U+{code:04X}"


IGNORABLE = [0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x180B, 0x180E, 0x200B, 0x200D, 0x202E, 0x2060, 0x2066, 0x3164,
             0xFE00, 0xFE0F, 0xFEFF, 0xFFA0, 0xFFF0, 0x1BCA0, 0x1D173, 0xE0000, 0xE0041, 0xE0100, 0xE01EF]  # fmt: skip


@pytest.mark.parametrize("code", [0x00, 0x09, 0x0A, 0x7F, 0x85, 0x2028, 0xE000, 0xFFFE, *IGNORABLE])
def test_characters_that_nobody_sees_are_refused_by_name(code: int) -> None:
    for email in (f"a{chr(code)}nn@example.com", f"ann@example.com{chr(code)}", f"{chr(code)}ann@example.com"):
        with pytest.raises(EmailRefused, match=f"U\\+{code:04X}"):
            check_email(email)
    with pytest.raises(PasswordRefused, match=f"U\\+{code:04X}"):
        check_password(f"correct{chr(code)}horse")
    with pytest.raises(FreeTextRefused, match=f"U\\+{code:04X}"):
        check_free_text(f"because{chr(code)}of it")


@pytest.mark.parametrize("text", ["", " ", "\u00a0\u3000", "\u0301", "\u2003\u0301"])
def test_text_in_which_nothing_is_visible_is_refused(text: str) -> None:
    with pytest.raises(FreeTextRefused, match="visible"):
        check_free_text(text)


@pytest.mark.parametrize(
    "text", [".", "e\u0301", "\u738b \u4f1f", "\U0001f600", "see #12: 50 % of them", "\u05d0\u05d1"]
)
def test_text_that_can_be_read_is_taken(text: str) -> None:
    check_free_text(text)


@pytest.mark.parametrize(
    "email",
    ["ann", "a@b@c", "a\u00a0b@c.d", "a b@c.d", "a\uff20b", "a@b\uff20c", "@b", "a@", " ", "", f"{'a' * 65}@b",
     f"a@{'b' * 190}"],
)  # fmt: skip
def test_what_is_no_address_in_any_form_is_refused(email: str) -> None:
    with pytest.raises(EmailRefused):
        check_email(email)


@pytest.mark.parametrize(
    "domain",
    ["example.com.", "example..com", ".com", "example\u3002com", "example\uff61com", "example\uff0e.com",
     "xn--bcher-kva.example", "XN--bcher-kva.example", "\uff58n--bcher-kva.example", "mail.xn--.example"],
)  # fmt: skip
def test_a_domain_is_taken_in_one_spelling_only(domain: str) -> None:
    with pytest.raises(EmailRefused, match="domain"):
        check_email(f"ann@{domain}")


@pytest.mark.parametrize(
    "email", ["ann@example.com", " Ann@Example.com ", "\u00e9va@ex\u00e4mple.com", "\u738b@\u4f8b.com"]
)
def test_addresses_are_taken(email: str) -> None:
    check_email(email)


def test_mail_goes_where_it_was_asked_to_go() -> None:
    assert mailed(" STRA\u00dfE@Example.com ") == "stra\u00dfe@example.com"
    assert normal_email("stra\u00dfe@example.com") == "strasse@example.com"


@given(TEXT | WORDS)
def test_the_earlier_form_of_the_spelling_itself_comes_first_and_there_are_few(text: str) -> None:
    forms = earlier_forms(text)
    assert forms[0] == unicodedata.normalize("NFC", text.strip()).lower()
    assert len(forms) <= 4


@given(TEXT | WORDS)
def test_the_form_of_a_password_is_a_fixed_point_and_keeps_case(text: str) -> None:
    once = normal_password(text)
    assert normal_password(once) == once
    assert normal_password(unicodedata.normalize("NFD", text)) == once
    assert text.isascii() is False or once == text


def test_a_password_is_counted_in_characters_of_its_form() -> None:
    assert check_password("e\u0301" * 8) == "\u00e9" * 8
    assert check_password("pass\u00a0word\u3000") == "pass word "
    assert check_password("\U0001f600" * 1_024)
    for short_or_long in ("", "e\u0301" * 7, "x" * 1_025):
        with pytest.raises(PasswordRefused):
            check_password(short_or_long)
