# ruff: noqa: RUF001 - names stand here in their own scripts
"""Owns the peoples of the demo: how names are built and written, which languages they speak, what they may believe.

Nobody here is real: given and family names are common ones, put together at random.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["BELIEFS", "PEOPLES", "People", "Word"]

Word = tuple[str, str]
"""A name in Latin letters, and as its own people write it."""


def _words(text: str) -> tuple[Word, ...]:
    """`"Amina=أمينة Hodan"` as pairs; a word without `=` is written the same way in both."""
    pairs = (word.replace("_", " ").partition("=") for word in text.split())
    return tuple((latin, native or latin) for latin, _, native in pairs)


@dataclass(frozen=True, slots=True)
class People:
    """One group of patients who share a way of naming and a language.

    `tag` is the language they speak first, `also` others they may speak, `places` where they live. `family_first`
    says that the family name stands first, `joined` also that nothing separates the parts, `gendered` that it has a
    form for women, `two_families` that there are two of them. `signs` marks a first language that is signed.
    """

    tag: str
    weight: int
    places: tuple[str, ...]
    women: tuple[Word, ...]
    men: tuple[Word, ...]
    families: tuple[Word, ...]
    beliefs: tuple[str, ...]
    also: tuple[str, ...] = ()
    joined: bool = False
    family_first: bool = False
    gendered: bool = False
    two_families: bool = False
    signs: bool = False


BELIEFS: Final[Mapping[str, tuple[str, str | None]]] = {
    # The person's words, and the code in HL7 v3-ReligiousAffiliation where there is one.
    "anglican": ("Church of England", "1005"),
    "atheist": ("No religion", "1007"),
    "agnostic": ("Agnostic", "1004"),
    "buddhist": ("Buddhist", "1029"),
    "catholic": ("Roman Catholic", "1041"),
    "evangelical": ("Evangelical", "1078"),
    "hindu": ("Hindu", "1020"),
    "humanist": ("Humanist", "1021"),
    "jewish": ("Jewish", "1026"),
    "lutheran": ("Lutheran", "1028"),
    "methodist": ("Methodist", "1073"),
    "muslim": ("Muslim", "1023"),
    "orthodox": ("Orthodox Christian", "1036"),
    "pentecostal": ("Pentecostal", "1038"),
    "quaker": ("Quaker", "1071"),
    "rastafari": ("Rastafari", None),
    "shinto": ("Shinto and Buddhist", "1046"),
    "sikh": ("Sikh", "1047"),
    "taoist": ("Taoist", "1050"),
    "witness": ("Jehovah's Witness", "1025"),
    "zen": ("Zen Buddhist", "1059"),
}

_UK = ("london", "leeds", "birmingham", "glasgow", "cardiff", "bristol")
_US = ("chicago", "houston", "seattle", "denver", "new_york")

PEOPLES: Final[tuple[People, ...]] = (
    People(
        "en-GB", 22, _UK,
        _words("Alice Charlotte Grace Niamh Ffion Catriona Precious Imani Shanice Margaret Dorothy Joan"),
        _words("Oliver George Callum Rhys Alasdair Delroy Kwame Winston Arthur Harold Stanley Ewan"),
        _words("Ashworth Bennett Campbell Davies Fraser Gallagher Hughes Mensah Pemberton Reid Thornton Walcott"),
        ("anglican", "atheist", "catholic", "methodist", "quaker", "pentecostal", "jewish", "rastafari"),
    ),
    People(
        "en-US", 14, _US,
        _words("Madison Brianna Destiny Emily Hannah Latoya Ruth Shirley Tiffany Vivian Naomi Dakota"),
        _words("Brandon Darnell Ethan Jamal Logan Marcus Tyler Wayne Earl Jesse Dwight Cody"),
        _words("Anderson Begay Carter Dubois Freeman Goldberg Jackson Kowalczyk O'Brien Thompson Washington Yazzie"),
        ("evangelical", "catholic", "atheist", "jewish", "methodist", "witness", "agnostic"),
    ),
    People(
        "es-MX", 9, ("houston", "chicago", "denver", "london"),
        _words("Guadalupe Ximena Valentina María_Fernanda Rocío Itzel Lucía Esperanza"),
        _words("Alejandro José_Luis Santiago Emiliano Ángel Joaquín Raúl Ignacio"),
        _words("García Hernández Martínez Núñez Ibáñez Velázquez Cuauhtémoc Xochihua Peña Zúñiga"),
        ("catholic", "evangelical", "witness"), also=("nah",), two_families=True,
    ),
    People(
        "so", 6, ("london", "birmingham", "bristol", "seattle"),
        _words("Hodan Ayaan Fadumo Sahra Ifrah Khadra Nasteexo Deqa"),
        _words("Abdirahman Cabdi Guled Liban Maxamed Warsame Yuusuf Xasan"),
        _words("Cali Faarax Jaamac Nuur Warsame Xirsi Cismaan Maxamuud"),
        ("muslim",), also=("ar",),
    ),
    People(
        "ar", 7, ("london", "leeds", "houston", "lyon"),
        _words("Amina=أمينة Layla=ليلى Noor=نور Hanan=حنان Rania=رانيا Samira=سميرة Zahra=زهراء Mariam=مريم"),
        _words("Ahmad=أحمد Khalid=خالد Omar=عمر Youssef=يوسف Tariq=طارق Hassan=حسن Ibrahim=إبراهيم Sami=سامي"),
        _words("Al-Masri=المصري Haddad=حداد Khoury=خوري Nasser=ناصر Al-Sayed=السيد Mansour=منصور Aziz=عزيز"),
        ("muslim", "orthodox", "catholic"), also=("fr",),
    ),
    People(
        "zh-Hans", 7, ("london", "new_york", "seattle", "berlin"),
        _words("Xiaoyan=晓燕 Meiling=美玲 Jing=静 Yuxin=雨欣 Li=丽 Fang=芳 Xiuying=秀英 Ruoxi=若曦"),
        _words("Wei=伟 Haoran=浩然 Jianguo=建国 Lei=磊 Zihan=子涵 Guoqiang=国强 Tao=涛 Jun=军"),
        _words("Wang=王 Li=李 Zhang=张 Liu=刘 Chen=陈 Zhao=赵 Ouyang=欧阳 Xu=徐"),
        ("buddhist", "taoist", "atheist"), also=("en",), joined=True,
    ),
    People(
        "zh-Hant", 5, ("london", "birmingham", "seattle", "new_york"),
        _words("Mei-chun=美君 Yee-man=綺雯 Hsiu-ying=秀英 Ka-yan=嘉欣 Shu-fen=淑芬 Wing-sze=詠詩"),
        _words("Chi-ming=志明 Ka-ho=家豪 Chun-chieh=俊傑 Wai-keung=偉強 Tsz-hin=梓軒 Kuo-hua=國華"),
        _words("Wong=黃 Chan=陳 Leung=梁 Lau=劉 Cheung=張 Hsieh=謝 Sze-to=司徒 Yeung=楊"),
        ("buddhist", "taoist", "catholic", "atheist"), also=("yue",), joined=True,
    ),
    People(
        "ja", 3, ("london", "seattle", "berlin"),
        _words("Yuki=由紀 Sakura=桜 Haruka=遥 Akiko=明子 Misaki=美咲 Chiyo=千代"),
        _words("Haruto=陽翔 Kenji=健二 Takeshi=武 Ren=蓮 Hiroshi=浩 Daichi=大地"),
        _words("Sato=佐藤 Suzuki=鈴木 Takahashi=高橋 Tanaka=田中 Watanabe=渡辺 Nakamura=中村"),
        ("shinto", "zen", "atheist"), also=("en",), joined=True,
    ),
    People(
        "ko", 4, ("new_york", "seattle", "london"),
        _words("Ji-woo=지우 Seo-yeon=서연 Min-ji=민지 Young-hee=영희 Soon-ja=순자 Ha-eun=하은"),
        _words("Min-jun=민준 Ji-hoon=지훈 Dong-hyun=동현 Young-ho=영호 Seung-woo=승우 Sang-chul=상철"),
        _words("Kim=김 Lee=이 Park=박 Choi=최 Jung=정 Namgung=남궁 Hwang=황"),
        ("buddhist", "evangelical", "catholic", "atheist"), also=("en",), joined=True,
    ),
    People(
        "hi", 6, ("london", "leeds", "houston", "birmingham"),
        _words("Priya=प्रिया Lakshmi=लक्ष्मी Anjali=अंजलि Sunita=सुनीता Kavita=कविता Meera=मीरा Asha=आशा"),
        _words("Rahul=राहुल Vikram=विक्रम Suresh=सुरेश Arjun=अर्जुन Manoj=मनोज Rajesh=राजेश Deepak=दीपक"),
        _words("Sharma=शर्मा Verma=वर्मा Gupta=गुप्ता Mishra=मिश्रा Chaudhary=चौधरी Joshi=जोशी Yadav=यादव"),
        ("hindu", "buddhist", "agnostic"), also=("en-IN",),
    ),
    People(
        "pa", 5, ("birmingham", "london", "leeds", "chicago"),
        _words("Harpreet=ਹਰਪ੍ਰੀਤ Gurleen=ਗੁਰਲੀਨ Simran=ਸਿਮਰਨ Jaswinder=ਜਸਵਿੰਦਰ Manpreet=ਮਨਪ੍ਰੀਤ Navneet=ਨਵਨੀਤ"),
        _words("Gurpreet=ਗੁਰਪ੍ਰੀਤ Jaspreet=ਜਸਪ੍ਰੀਤ Balwinder=ਬਲਵਿੰਦਰ Kuldeep=ਕੁਲਦੀਪ Amrit=ਅੰਮ੍ਰਿਤ Ranjit=ਰਣਜੀਤ"),
        _words("Singh=ਸਿੰਘ Kaur=ਕੌਰ Gill=ਗਿੱਲ Dhillon=ਢਿੱਲੋਂ Sandhu=ਸੰਧੂ Bains=ਬੈਂਸ"),
        ("sikh", "hindu"), also=("hi",),
    ),
    People(
        "pl", 6, ("leeds", "glasgow", "london", "chicago", "berlin"),
        _words("Agnieszka Małgorzata Zofia Łucja Bożena Katarzyna Grażyna"),
        _words("Krzysztof Łukasz Wojciech Stanisław Michał Zbigniew Jędrzej"),
        _words("Kowalski Wiśniewski Wójcik Zieliński Szymański Dąbrowski Nowak Źródlany"),
        ("catholic", "atheist"), gendered=True,
    ),
    People(
        "uk", 5, ("cardiff", "glasgow", "berlin", "chicago", "lyon"),
        _words("Oksana=Оксана Kateryna=Катерина Nadiia=Надія Yuliia=Юлія Solomiia=Соломія Liudmyla=Людмила"),
        _words("Oleksandr=Олександр Dmytro=Дмитро Taras=Тарас Andrii=Андрій Yevhen=Євген Mykola=Микола"),
        _words("Shevchenko=Шевченко Kovalenko=Коваленко Bondarenko=Бондаренко Tkachuk=Ткачук Melnyk=Мельник"),
        ("orthodox", "catholic", "atheist"), also=("ru",),
    ),
    People(
        "vi", 5, ("houston", "seattle", "london", "lyon"),
        _words("Thuy_Linh=Thùy_Linh Ngoc_Anh=Ngọc_Ánh Thi_Huong=Thị_Hương Bich_Phuong=Bích_Phượng Kim_Lien=Kim_Liên"),
        _words("Minh_Quan=Minh_Quân Duc_Thang=Đức_Thắng Van_Hung=Văn_Hùng Quoc_Viet=Quốc_Việt Huu_Phuoc=Hữu_Phước"),
        _words("Nguyen=Nguyễn Tran=Trần Le=Lê Pham=Phạm Dang=Đặng Vo=Võ Huynh=Huỳnh"),
        ("buddhist", "catholic", "atheist"), also=("en",), family_first=True,
    ),
    People(
        "fr", 4, ("lyon", "london", "new_york"),
        _words("Amélie Chloé Béatrice Françoise Maëlle Aïssatou Noémie Odile"),
        _words("Benoît François Théo Raphaël Mamadou Étienne Gaël Loïc"),
        _words("Lefèvre D'Aubigné Diallo Châtelain Garçon Ngo_Mbappé Bélanger L'Huillier"),
        ("catholic", "atheist", "muslim"), also=("en",),
    ),
    People(
        "tr", 5, ("berlin", "london", "new_york"),
        _words("Ayşe Çiğdem Elif Gülşen İpek Özlem Şeyma Zeynep"),
        _words("Ahmet Barış Çağlar Emre Işıl_Can Oğuz Ömer Şükrü"),
        _words("Yılmaz Çelik Demir Öztürk Şahin Aydın Güneş Işık"),
        ("muslim", "agnostic"), also=("de",),
    ),
    People(
        "pt-BR", 4, ("london", "new_york", "lyon"),
        _words("Conceição Luíza Thaís Antônia Beatriz Inês Vitória"),
        _words("João Caíque Luís_Otávio Antônio Sebastião Estêvão Thiago"),
        _words("Gonçalves Araújo Conceição Magalhães Assunção Simões Brandão"),
        ("catholic", "evangelical", "agnostic"), two_families=True,
    ),
    People(
        "de", 5, ("berlin", "london", "chicago"),
        _words("Käthe Änne Jördis Mareike Sieglinde Zoë Ursula"),
        _words("Jürgen Götz Björn Matthäus Günther Lukas Thorsten"),
        _words("Müller Weiß Schröder von_der_Heide Größler Krämer Böhm Yıldız"),
        ("lutheran", "catholic", "atheist"), also=("en",),
    ),
    People(
        "bfi", 4, ("london", "glasgow", "bristol", "leeds"),
        _words("Rosie Hazel Olwen Marian Jade Bernadette"),
        _words("Declan Toby Gareth Leonard Samir Isaac"),
        _words("Ackroyd Bramley Carrick Delaney Okonkwo Whittaker"),
        ("anglican", "atheist", "catholic"), also=("en-GB",), signs=True,
    ),
)  # fmt: skip
