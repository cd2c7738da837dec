"""Random sentences for benches that listen to real voices: Chinese, English and mixed, with pauses, numbers, short and repeated words."""

from __future__ import annotations

import random

ZH_WHO = "您 我们 他 客户 这位先生 小王 我的经理 技术人员 大家 那家公司".split()
ZH_WHEN = "今天 明天上午 下个星期三 晚上八点 刚才 每个月 去年冬天 三分钟以后".split()
ZH_WHAT = (
    "查询账户的余额 收到了您的付款 会尽快给您回电话 打算坐火车去上海 把密码改成了四位数字 正在处理这个问题 不知道这件事 "
    "买了两张电影票 要先登记再进去 一个一个地检查 把话说完了 需要五百二十元 在图书馆看书 已经发货了 想听一首好听的歌 住在三楼"
).split()
ZH_HEAD = "您好 对不起 请注意 谢谢您的来电 是的是的 如果您愿意 不过 其实 因为下雨".split()
ZH_TAIL = "请不要挂断 请按九号键 可以吗 好不好 就是这样 祝您生活愉快 一二三四五 再见".split()
EN_WHO = "we|the agent|your bank|she|the man at the desk|I|our team|the last train|my friend and I|it".split("|")
EN_DOES = (
    "will call you back as soon as it can|has sent the letter to the wrong address|is at the end of the line|does not know what that is|"
    "had to wait for an hour and a half|can take a message|sold two tickets for the show|is on the table in the hall|"
    "would like to hear it again|checks them one by one|got all of it right|said that that was it|paid five hundred and twenty dollars|"
    "moved to a small town by the sea"
).split("|")
EN_HEAD = "hello|I am sorry|please note|yes, yes|if you like|as a matter of fact|on Monday morning|thank you for waiting".split("|")
EN_TAIL = "please hold the line|press nine now|is that all right|one two three four|have a nice day|goodbye".split("|")
BORROWED = "VIP Google email WiFi Python app update project meeting online Facebook demo".split()


def random_sentence(rng: random.Random, kind: str) -> str:
    """A sentence of `kind` zh, en or mixed: one to three clauses, 2 to 9 s of speech."""
    if kind == "en":
        clauses = [f"{rng.choice(EN_WHO)} {rng.choice(EN_DOES)}"]
        clauses = _around(rng, EN_HEAD, clauses, EN_TAIL, [f"and {rng.choice(EN_WHO)} {rng.choice(EN_DOES)}"])
        text = ", ".join(clauses)
        return text[0].upper() + text[1:] + rng.choice(".?!")
    clauses = [rng.choice(ZH_WHO) + rng.choice(ZH_WHEN) + rng.choice(ZH_WHAT)]
    clauses = _around(rng, ZH_HEAD, clauses, ZH_TAIL, [rng.choice(ZH_WHO) + rng.choice(ZH_WHAT)])
    if kind == "mixed":
        at = rng.randrange(len(clauses))
        middle = rng.randrange(1, len(clauses[at]))
        clauses[at] = f"{clauses[at][:middle]} {rng.choice(BORROWED)} {clauses[at][middle:]}"
    return "，".join(clauses) + rng.choice("。？！")


def _around(rng: random.Random, head: list[str], clauses: list[str], tail: list[str], more: list[str]) -> list[str]:
    front = [rng.choice(head)] if rng.random() < 0.4 else []
    back = more if rng.random() < 0.4 else []
    return front + clauses + back + ([rng.choice(tail)] if rng.random() < 0.4 else [])
