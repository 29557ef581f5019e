"""Two user turns each in languages that the rules do not read, written for the tests."""

SAID: dict[str, list[list[str]]] = {
    "chinese": [
        ["你好", "我最近失眠，房东要赶我走，我很焦虑。"],
        ["我跟女朋友分手了，每天都哭。", "我不想活了。"],
        ["工作压力太大，我想辞职。", "没有人理解我。"],
    ],
    "japanese": [
        ["こんにちは。", "最近ずっと眠れなくて、仕事にも行けません。"],
        ["彼氏と別れて、とてもつらいです。", "もう消えてしまいたい。"],
        ["試験に落ちました。", "親に何と言えばいいか分かりません。"],
    ],
    "arabic": [
        ["مرحبا", "لا أستطيع النوم منذ أسبوعين وأشعر بالقلق."],
        ["فقدت عملي الشهر الماضي.", "لا أريد أن أعيش بعد الآن."],
        ["صديقتي تركتني.", "أشعر بالوحدة كل ليلة."],
    ],
    "hindi": [
        ["नमस्ते", "मेरी नौकरी चली गई और मुझे नींद नहीं आती।"],
        ["मैं बहुत अकेला महसूस करता हूँ।", "मैं मरना चाहता हूँ।"],
        ["परीक्षा में फेल हो गया।", "घर वाले बहुत नाराज़ हैं।"],
    ],
    "russian": [
        ["Здравствуйте", "Я не могу спать уже две недели, меня выгоняют из квартиры."],
        ["Меня бросила девушка.", "Я больше не хочу жить."],
        ["Начальник кричит на меня каждый день.", "Не знаю, что делать."],
    ],
    "korean": [
        ["안녕하세요", "요즘 잠을 못 자고 너무 불안해요."],
        ["남자친구랑 헤어졌어요.", "더 이상 살고 싶지 않아요."],
    ],
    "spanish": [
        ["Hola, ¿hay alguien?", "Llevo dos semanas sin dormir porque mi casero me quiere echar."],
        ["Mi novia me dejó ayer y no paro de llorar.", "Ya no quiero vivir más."],
        ["En el trabajo todo me sale mal.", "Mi jefe me grita delante de todos y no sé qué hacer."],
        ["No puedo dejar de pensar en lo que pasó con mi padre.", "Nadie me entiende en casa."],
    ],
    "french": [
        ["Bonjour, il y a quelqu'un ?", "Je ne dors plus depuis que mon propriétaire veut me mettre dehors."],
        ["Mon copain m'a quittée hier soir.", "Je n'ai plus envie de vivre."],
        ["Au travail on se moque de moi tous les jours.", "Je ne sais plus quoi faire de ma vie."],
        ["J'ai raté mon examen pour la deuxième fois.", "Mes parents vont être très déçus."],
    ],
    "german": [
        ["Hallo, ist da jemand?", "Ich kann seit zwei Wochen nicht mehr schlafen, mein Vermieter hat mir gekündigt."],
        ["Meine Freundin hat mich verlassen.", "Ich will nicht mehr leben."],
        ["Mein Chef schreit mich jeden Tag an.", "Ich weiß nicht, was ich machen soll."],
        ["Es war so still in der Wohnung, als er nicht mehr da war.", "Man sagt mir, das wird schon wieder."],
    ],
    "portuguese": [
        ["Oi, tem alguém aí?", "Faz duas semanas que não durmo porque vou perder o apartamento."],
        ["Minha namorada terminou comigo.", "Não quero mais viver assim."],
        ["Me sinto muito sozinha nesta cidade.", "Ninguém liga para mim."],
    ],
    "italian": [
        ["Ciao, c'è qualcuno?", "Non dormo da due settimane perché il padrone di casa mi manda via."],
        ["La mia ragazza mi ha lasciato.", "Non voglio più vivere."],
        ["Il mio capo mi urla contro ogni giorno.", "Non so più che cosa fare."],
    ],
    "turkish": [
        ["Merhaba, kimse var mı?", "İki haftadır uyuyamıyorum, ev sahibim beni çıkarıyor."],
        ["Sevgilim beni terk etti.", "Artık yaşamak istemiyorum."],
        ["Patronum her gün bana bağırıyor.", "Ne yapacağımı bilmiyorum."],
    ],
    "dutch": [
        ["Hallo, is daar iemand?", "Ik slaap al twee weken niet omdat mijn huisbaas me eruit wil zetten."],
        ["Mijn vriend is bij me weg.", "Ik wil niet meer leven."],
        ["Mijn baas schreeuwt elke dag tegen me.", "Ik weet niet meer wat ik moet doen."],
    ],
    "indonesian": [
        ["Halo, ada orang di sini?", "Sudah dua minggu saya tidak bisa tidur karena akan diusir dari rumah."],
        ["Pacar saya pergi begitu saja.", "Aku tidak mau hidup lagi."],
        ["Bos saya marah setiap hari.", "Saya tidak tahu harus bagaimana."],
    ],
    "vietnamese": [
        ["Xin chào, có ai ở đó không?", "Hai tuần nay tôi không ngủ được vì chủ nhà muốn đuổi tôi đi."],
        ["Bạn gái tôi đã bỏ tôi.", "Tôi không muốn sống nữa."],
        ["Sếp mắng tôi mỗi ngày.", "Tôi không biết phải làm gì."],
    ],
    "polish": [
        ["Dzień dobry, jest tam ktoś?", "Od dwóch tygodni nie śpię, bo właściciel wyrzuca mnie z mieszkania."],
        ["Zostawił mnie chłopak.", "Nie chcę już żyć."],
    ],
    "swedish": [
        ["Hej, är någon där?", "Jag har inte sovit på två veckor för att hyresvärden vill kasta ut mig."],
        ["Min pojkvän lämnade mig i går.", "Jag vill inte leva längre."],
    ],
    "swahili": [
        ["Habari, kuna mtu hapo?", "Sijalala wiki mbili kwa sababu mwenye nyumba ananifukuza."],
        ["Mpenzi wangu ameniacha.", "Sitaki kuishi tena."],
    ],
    "romanised hindi": [
        ["namaste, koi hai kya?", "do hafte se neend nahi aa rahi, makaan malik ghar khali karne ko bol raha hai"],
        ["meri girlfriend ne mujhe chhod diya", "ab main jeena nahi chahta"],
        ["boss roz sabke saamne chillata hai", "samajh nahi aata kya karun yaar"],
        ["main bahut akela feel karta hoon", "koi meri baat nahi sunta"],
    ],
    "half in english": [
        ["I have not slept for two weeks.", "Mi casero me quiere echar del piso y no sé adónde ir con mis hijos."],
        ["My girlfriend left me.", "Ich will nicht mehr leben und niemand kann mir sagen, wie es weitergehen soll."],
        ["Work is too much for me right now.", "我不想活了，没有人理解我。"],
        ["I feel so alone here.", "main bahut thak gaya hoon aur ab kuch bhi achha nahi lagta mujhe"],
    ],
}
