"""Paraphrase noise for questions: slots, greetings, politeness, other words, case, typing errors.

Every function is pure in (text, prng). Answers never pass through here.
"""

import json
import re
from pathlib import Path

# The values of slots; tools/model-eval.ts reads the same file.
SLOTS = json.loads((Path(__file__).parent.parent / "corpus" / "slots.json").read_text("utf-8"))

BEFORE = {
    "en": [
        *("hi, ", "hello, ", "hey, ", "hi there, ", "good morning, ", "good evening, "),
        *("please ", "excuse me, ", "sorry, ", "quick question: ", "question: ", "so ", "well, "),
        *("I need help: ", "can you help me? ", "could you tell me, ", "can you tell me ", "ok, "),
        *("I'd like to know: ", "just wondering, ", "um, ", "and ", "dear team, ", "hello! "),
        *("help! ", "I have a question, ", "also, ", "one more thing: ", "tell me, "),
    ],
    "zh": [
        *("你好，", "您好，", "请问", "请问一下，", "请问下", "我想问一下，", "想问下", "亲，"),
        *("在吗，", "客服你好，", "麻烦问一下，", "你好请问", "您好请问", "咨询一下，", "那个，"),
        *("不好意思，", "打扰一下，", "帮我看看，", "想咨询一下", "请教一下，", "哎，", "那", "还有，"),
        *("另外，", "你好！", "嗨，", "问下"),
    ],
}
AFTER = {
    "en": [" please", " thanks", ", thank you", " pls", ", thanks!", " asap", " now", "??", "!"]
    + ["...", " please?", ", can you help?", " :(", ", it's urgent", " again", " then"],
    "zh": ["？", "?", "啊", "呢", "，谢谢", "谢谢", "，急", "呀", "！", "。", "…", "，在线等", "吗"]
    + ["，麻烦了", "呢？", "啊？", "，谢谢！", "，求解答"],
}

# Words that may stand for one another whatever the topic. Each row: one replaces any other.
SAME = {
    "en": [
        ["how do i", "how can i", "how to", "how would i", "what's the way to", "how should i"],
        ["i want to", "i'd like to", "i would like to", "i wish to", "i need to", "i wanna"],
        ["can i", "could i", "may i", "am i able to", "is it possible to"],
        ["can you", "could you", "would you", "will you"],
        ["do you have", "have you got", "do you offer"],
        ["where is", "where's", "wheres"],
        ["what is", "what's", "whats"],
        ["parcel", "package", "shipment", "packet"],
        ["purchase", "order"],
        ["bought", "ordered", "purchased"],
        ["purchase", "buy", "shop for"],
        ["coupon", "voucher", "promo code", "discount code", "coupon code"],
        ["courier", "driver", "delivery man", "delivery guy"],
        ["receipt", "invoice", "bill"],
        ["e-mail", "email", "mail"],
        ["phone number", "telephone number", "mobile number"],
        ["broken", "damaged", "cracked", "smashed", "in pieces"],
        ["person", "human", "someone", "real person", "agent"],
        ["didn't get", "haven't received", "never got", "did not receive", "have not got"],
        ["doesn't work", "does not work", "isn't working", "not working", "won't work"],
        ["delivery", "shipping"],
        ["deliver", "ship", "send"],
        ["arrived", "came", "got here", "was delivered"],
        ["arrive", "come", "get here", "be delivered"],
        ["i got", "i received", "you sent me", "i was sent"],
        ["cost", "price", "fee", "charge"],
        ["send back", "return"],
        ["sign in", "log in", "login", "get in"],
        ["money back", "refund"],
        ["change", "update", "edit", "modify"],
        ["wrong", "incorrect", "false"],
        ["late", "delayed", "overdue"],
        ["explain", "tell me", "show me", "describe"],
        ["remove", "delete", "erase"],
        ["the item", "the product", "the article", "it", "the thing"],
        ["bad", "terrible", "awful", "poor"],
        ["cancel", "call off"],
        ["find", "see", "get"],
        ["pay later", "pay in parts", "pay in installments"],
        ["abroad", "overseas", "internationally", "to another country"],
        ["lost", "gone", "missing"],
        ["when will", "when do", "when does"],
        ["how long", "how many days", "how much time"],
        ["my", "the", "this"],
        ["a", "an", "the", "my", "one"],
        ["question", "query"],
        ["staff", "team", "employees", "people"],
    ],
    "zh": [
        ["怎么", "如何", "怎样", "咋", "怎么样", "要怎么", "该怎么"],
        ["我想", "我要", "想要", "我想要", "想", "我需要"],
        ["可以", "能", "能不能", "可不可以", "能否", "是否可以"],
        ["哪里", "哪儿", "什么地方", "哪"],
        ["多久", "多长时间", "几天", "多少天"],
        ["什么", "啥"],
        ["没有", "没", "还没", "一直没"],
        ["快递", "包裹", "货"],
        ["东西", "商品", "货", "产品", "宝贝"],
        ["收到", "拿到", "收着"],
        ["为什么", "为啥", "怎么", "怎么会"],
        ["订单", "单子", "单"],
        ["购买", "买", "下单买"],
        ["退货", "退掉", "退回去"],
        ["退款", "退钱"],
        ["优惠券", "券", "优惠码", "代金券"],
        ["密码", "登录密码"],
        ["账号", "帐号", "账户", "帐户"],
        ["修改", "更改", "改", "换", "改一下", "变更"],
        ["地址", "收货地址"],
        ["快递员", "配送员", "送货员", "快递小哥", "派送员"],
        ["坏了", "破了", "碎了", "破损", "损坏"],
        ["人工客服", "人工", "真人客服", "真人"],
        ["付款", "支付", "付钱"],
        ["发票", "票"],
        ["手机号", "手机号码", "电话号码"],
        ["邮箱", "电子邮箱", "邮件地址"],
        ["多少钱", "什么价", "怎么收费", "费用多少"],
        ["运费", "邮费", "快递费", "配送费"],
        ["取消", "撤销"],
        ["送货", "配送", "派送"],
        ["送到", "到货", "到"],
        ["错了", "不对", "弄错了", "有误"],
        ["打不开", "用不了", "没反应", "不能用"],
        ["帮我", "给我", "麻烦帮我", "请帮我", "替我"],
        ["是不是", "是否"],
        ["有没有", "有无", "有"],
        ["你们", "你家", "贵店", "店里", "咱们"],
        ["还", "还是", "仍然"],
        ["几天", "几个工作日"],
        ["会员", "灯巷会员"],
        ["太", "很", "非常", "真"],
        ["到账", "退回来", "回来"],
        ["扣了", "扣款", "收了"],
        ["注销", "删除", "关闭"],
        ["现在", "目前", "如今"],
        ["了", "啦"],
        ["吗", "么", "嘛", ""],
        ["的", ""],
        ["一下", ""],
    ],
}
ZH_TYPOS = {"在": "再", "的": "得", "账": "帐", "吗": "嘛", "做": "作", "您": "你", "它": "他"}
WORDS_TO_LOSE = {
    *("the", "a", "an", "my", "please", "to", "is", "are", "do", "i", "it", "of", "for", "on"),
    *("with", "your", "this", "that", "me", "you", "can", "does", "be", "was", "have", "has"),
}


def _order_number(prng):
    digits = "".join(prng.choice("0123456789") for _ in range(prng.choice([5, 6, 8, 10])))
    return prng.choice(["", "", "#", "LL-", "LL"]) + digits


def fill(text, language, prng):
    """Fills `{order}`, `{product}` and `{city}`; any other slot is a bug of the corpus."""

    def value(found):
        name = found[1]
        return _order_number(prng) if name == "order" else prng.choice(SLOTS[language][name])

    return re.sub(r"\{(\w+)\}", value, text)


def fill_fixed(text, language, index):
    """Fills slots without chance, for held-out questions; tools/model-eval.ts does the same."""
    for name, values in SLOTS[language].items():
        text = text.replace("{" + name + "}", values[index % len(values)])
    return text.replace("{order}", str(48213 + index))


def _same_words(text, language, prng, rate):
    """Replaces words by others of their row, each row with the given probability."""
    for row in SAME[language]:
        if prng.random() >= rate:
            continue
        for word in sorted(row, key=len, reverse=True):
            if word == "":
                continue
            if language == "zh":
                at = text.find(word)
                if at < 0:
                    continue
                other = prng.choice([x for x in row if x != word])
                text = text[:at] + other + text[at + len(word) :]
                break
            found = re.search(rf"(?<![\w'-]){re.escape(word)}(?![\w'-])", text, re.IGNORECASE)
            if found is None:
                continue
            other = prng.choice([x for x in row if x != word])
            text = text[: found.start()] + other + text[found.end() :]
            break
    return text


def _typo(word, prng):
    at = prng.randrange(len(word) - 1)
    kind = prng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]


def _english(text, prng, level):
    words = []
    parts = text.split(" ")
    for word in parts:
        chance = prng.random()
        if word.lower() in WORDS_TO_LOSE and len(parts) > 2 and chance < 0.12 * level:
            continue
        if len(word) > 3 and word.isalpha() and chance < 0.035 * level:
            word = _typo(word, prng)
        words.append(word)
    if len(words) > 4 and prng.random() < 0.06 * level:
        at = prng.randrange(len(words))
        del words[at]
    text = " ".join(words)
    if prng.random() < 0.3 * level:
        text = text.replace("'", "").replace("’", "")
    case = prng.random()
    if case < 0.35:
        text = text.lower()
    elif case < 0.6 and text:
        text = text[0].upper() + text[1:]
    elif case < 0.62:
        text = text.upper()
    return text


def _chinese(text, prng, level):
    out = []
    for char in text:
        chance = prng.random()
        if char in ZH_TYPOS and chance < 0.08 * level:
            char = ZH_TYPOS[char]
        elif len(text) > 5 and chance > 1 - 0.025 * level:
            continue
        out.append(char)
    text = "".join(out)
    if "，" in text and prng.random() < 0.3:
        text = text.replace("，", prng.choice([",", " ", ""]))
    halves = re.split(r"[，,]", text, 1)
    if len(halves) == 2 and all(len(half) > 2 for half in halves) and prng.random() < 0.15:
        text = halves[1].rstrip("？?。") + "，" + halves[0]
    return text


def vary(text, topic, prng, level):
    """Returns another form of a question. `level` 0 only fills slots; 1 is the usual noise."""
    language = topic.language
    text = fill(text, language, prng)
    if level <= 0:
        return text
    text = _same_words(text, language, prng, 0.35 * level)
    if prng.random() < 0.45:
        text = text.rstrip("?!.？！。")
    text = (_english if language == "en" else _chinese)(text, prng, level)
    # Talk is itself greeting and thanks: politeness around it would change what it means.
    is_talk = topic.id.startswith("talk-")
    if not is_talk and prng.random() < 0.3 * level:
        text = prng.choice(BEFORE[language]) + text
    if not is_talk and prng.random() < 0.22 * level:
        text = text.rstrip("?!.？！。") + prng.choice(AFTER[language])
    text = re.sub(r" {2,}", " ", text).strip()
    return text if text else fill(topic.questions[0], language, prng)
