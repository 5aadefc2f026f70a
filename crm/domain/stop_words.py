"""Owns the word lists by which messages of patients are understood, by language; compares nothing.

Sources: 47 CFR 64.1200(a)(10), the seven words that always revoke consent in the United States; the keywords that
Twilio, AWS End User Messaging, Bird and Sinch document for their gateways (docs/consent.md names the pages). Words
beside these are our own translations of the same few. What means `cancel` in another language than English may be
about an appointment: nobody's law makes it a keyword, so a person reads it.
"""

from collections.abc import Mapping
from typing import Final

__all__ = [
    "AMBIGUOUS", "COURTESIES", "HELP", "HINTS", "MESSAGES", "PHRASES", "SIGNATURES", "SIGNS", "START", "STOP",
]  # fmt: skip

STOP: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("stop", "stop all", "stop now", "all stop", "sotp", "stpo", "tsop", "stop 2 end"),
    "en": (
        "quit", "end", "revoke", "opt out", "cancel", "unsubscribe", "remove", "remove me", "td", "stop it",
        "unsub", "unsubscribe me", "unsuscribe", "unsubcribe", "opt me out", "i revoke", "i opt out",
    ),
    "fr": ("arret", "arreter", "arretez", "arrête", "stopper", "désabonner", "désabonnement", "désinscription",
           "désinscrire", "me désabonner"),
    "es": ("detener", "salir", "parar", "pare", "alto", "baja", "darme de baja", "no más", "cancelar", "fin"),
    "pt": ("parar", "pare", "sair", "cancelar", "remover", "descadastrar", "fim"),
    "de": ("halt", "stopp", "abmelden", "abbestellen", "austragen", "ende", "aufhören"),
    "it": ("ferma", "fermare", "fermati", "disiscrivi", "disiscrivimi", "disiscrizione"),
    "nl": ("stoppen", "afmelden", "uitschrijven", "einde"),
    "pl": ("zatrzymaj", "rezygnuję", "wypisz", "koniec"),
    "sv": ("stoppa", "avsluta", "avregistrera"),
    "nb": ("stopp", "avslutt", "meld av"),
    "da": ("afmeld", "stop venligst"),
    "fi": ("lopeta", "seis"),
    "cs": ("konec", "odhlásit", "zastavit"),
    "ru": ("стоп", "остановить", "отписаться", "отпишите"),
    "uk": ("стоп", "зупинити", "відписатися"),
    "tr": ("dur", "durdur"),
    "ar": ("توقف", "إيقاف", "قف"),
    "zh": ("停止", "退订", "退訂"),
    "ja": ("停止", "配信停止", "ストップ"),
    "ko": ("중지", "수신거부", "그만"),
    "vi": ("dừng", "ngừng"),
    "so": ("jooji",),
    "ht": ("sispann",),
    "tl": ("itigil",),
    "hi": ("रोकें", "बंद", "बंद करें"),
}  # fmt: skip
"""A message that is nothing but one of these stops. Under `""` is what no single language owns."""

START: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("start", "unstop", "un stop", "optin"),
    "en": ("begin", "resume", "revert", "opt in", "subscribe", "resubscribe"),
    "fr": ("nonarret", "non arrêt", "débuter", "reprendre", "réabonner"),
    "es": ("volver", "recibir", "empezar", "reanudar"),
    "pt": ("voltar", "receber", "recomeçar"),
    "de": ("starten", "anmelden"),
    "it": ("riprendi", "riprendere"),
    "nl": ("aanmelden", "starten"),
    "pl": ("wznów",),
}
"""Asks for messages again. `yes` is not among them, although some gateways take it: people confirm visits with it."""

HELP: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("help", "info"),
    "fr": ("aide",),
    "nl": ("hulp",),
    "de": ("hilfe",),
    "es": ("ayuda",),
    "pt": ("ajuda",),
    "it": ("aiuto",),
    "ru": ("помощь",),
    "pl": ("pomocy", "pomoc"),
}
"""Asks who writes, and how to make it end."""

AMBIGUOUS: Final = (
    "quit", "end", "cancel", "remove", "td", "fin", "fim", "ende", "koniec", "konec", "einde", "halt", "alto", "baja",
    "dur", "salir", "sair", "cancelar", "remover", "parar", "pare", "no mas", "annuler", "annulez", "annulla",
    "stp", "cancella", "annuleren", "stornieren", "absagen", "kündigen", "anuluj", "zrušit", "отмена", "iptal",
)  # fmt: skip
"""Words that hint at stopping only alone, or in a message that is about messages: they have other uses."""

HINTS: Final = (
    "stop", "stops", "stopped", "stopping", "unsubscribed", "unsubscribing", "revoking", "revoked", "revocation",
    "optout", "harassing", "harassment", "spam", "reported", "arrêtez", "arrêter", "cesser", "cessez", "desabonnez",
    "basta", "smettere", "smettetela", "smettila", "dejen", "deje", "dejar", "detengan", "parem", "aufhoeren",
    "cease", "stoped", "unterlassen", "abgemeldet", "ophouden", "przestań", "przestańcie", "прекратите", "хватит",
    "取消订阅",
)  # fmt: skip
"""Words that hint at stopping wherever they stand."""

PHRASES: Final = (
    "opt out", "opting out", "leave me alone", "no more texts", "no more messages", "no more calls", "no more emails",
    "no more reminders", "do not text", "do not call", "do not contact", "do not message", "do not send",
    "dont text", "dont call", "dont contact", "dont message", "dont send", "dont want", "do not want", "take me off",
    "wrong number", "wrong person", "not my number", "lose my number", "lose this number", "delete my number",
    "never contact", "never text", "never call", "never message", "never write", "not contact me", "not text me",
    "not interested", "no longer interested", "i want out", "fuck off", "piss off",
    "remove me", "remove my number", "withdraw my consent", "withdraw consent", "mauvais numéro", "faux numéro",
    "ne plus", "plus de messages", "plus de sms", "laissez moi", "número equivocado", "no quiero", "no me envien",
    "no me mande", "no me manden", "déjeme en paz", "não quero", "número errado", "keine nachrichten", "keine sms",
    "nicht mehr", "falsche nummer", "lasst mich", "lassen sie mich", "numero sbagliato", "non voglio", "geen berichten",
    "geen sms", "niet meer", "verkeerd nummer", "nie chcę", "zły numer", "не пишите", "не присылайте", "не тот номер",
)  # fmt: skip
"""Phrases that hint at stopping wherever they stand."""

MESSAGES: Final = (
    "text", "texts", "texting", "sms", "message", "messages", "messaging", "msg", "msgs", "call", "calls", "calling",
    "email", "emails", "reminder", "reminders", "notification", "notifications", "alert", "alerts", "subscription",
    "contacting", "messagerie", "rappels", "appels", "mensaje", "mensajes", "llamadas", "recordatorios", "mensagem",
    "mensagens", "lembretes", "nachricht", "nachrichten", "anrufe", "erinnerungen", "messaggi", "chiamate", "bericht",
    "berichten", "herinneringen", "wiadomości", "smsy", "сообщения",
)  # fmt: skip
"""What a message is about that is about messages."""

COURTESIES: Final = (
    "please", "pls", "plz", "thanks", "thank", "you", "thx", "ty", "ok", "okay", "hi", "hello", "sorry",
    "merci", "svp", "stp", "bonjour", "por", "favor", "gracias", "hola", "obrigado", "obrigada", "bitte", "danke",
    "hallo", "prego", "grazie", "ciao", "alstublieft", "alsjeblieft", "bedankt", "proszę", "dziękuję", "пожалуйста",
    "спасибо",
)  # fmt: skip
"""Words that make a keyword polite and change nothing of it."""

SIGNATURES: Final = (
    "sent from my ", "sent from mail", "sent via ", "get outlook for", "envoye de mon ", "envoye depuis ",
    "enviado desde mi ", "enviado do meu ", "gesendet von ", "von meinem ", "inviato da ", "verzonden vanaf ",
    "wyslane z ",
)  # fmt: skip
"""How lines begin that a device has added, without accents."""

SIGNS: Final = ("\N{OCTAGONAL SIGN}", "\N{NO ENTRY}", "\N{NO ENTRY SIGN}", "\N{RAISED HAND}")
"""Pictures that hint at stopping where nothing is written beside them."""
