//! Which kind of message it is: its type's name, what its wrappers hold, what goes with it.

use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;

use crate::ids::MessageId;

/// How deep wrappers may lie in each other; WhatsApp's own clients use two.
const DEEPEST: usize = 8;

/// What the wrappers of a message hold.
pub(super) struct Unwrapped<'a> {
    /// The content itself.
    pub(super) body: &'a wa::Message,
    /// Whether one of the wrappers says that it may be looked at once only.
    pub(super) view_once: bool,
    /// The message that it comments on.
    pub(super) commented: Option<&'a wa::MessageKey>,
}

/// Takes off the wrappers, which only say how something is shown.
pub(super) fn base(message: &wa::Message) -> Unwrapped<'_> {
    let mut base = Unwrapped {
        body: message,
        view_once: false,
        commented: None,
    };
    for _ in 0..DEEPEST {
        let Some(inner) = inner(base.body) else {
            break;
        };
        base.view_once |= base.body.view_once_message.is_set()
            || base.body.view_once_message_v2.is_set()
            || base.body.view_once_message_v2_extension.is_set();
        if let Some(comment) = base.body.comment_message.as_option() {
            base.commented = comment.target_message_key.as_option();
        }
        base.body = inner;
    }
    base
}

fn inner(message: &wa::Message) -> Option<&wa::Message> {
    macro_rules! first {
        ($($field:ident),+ $(,)?) => {
            $(if let Some(wrapper) = message.$field.as_option()
                && let Some(inner) = wrapper.message.as_option()
            {
                return Some(inner);
            })+
        };
    }
    first! {
        device_sent_message, ephemeral_message, view_once_message, view_once_message_v2,
        view_once_message_v2_extension, document_with_caption_message, edited_message,
        group_mentioned_message, comment_message, lottie_sticker_message, bot_invoke_message,
        associated_child_message, event_cover_image, status_mention_message,
        poll_creation_option_image_message, group_status_mention_message, poll_creation_message_v4,
        status_add_yours, group_status_message, group_status_message_v2, limit_sharing_message,
        bot_task_message, question_message, question_reply_message, bot_forwarded_message,
        spoiler_message, newsletter_admin_profile_message, newsletter_admin_profile_message_v2,
        newsletter_admin_profile_status_message,
    }
    None
}

/// What stands beside a message: who is mentioned, what it answers, when it disappears.
pub(super) fn context_of(body: &wa::Message) -> Option<&wa::ContextInfo> {
    macro_rules! first {
        ($($field:ident),+ $(,)?) => {
            $(if let Some(m) = body.$field.as_option() {
                return m.context_info.as_option();
            })+
        };
    }
    first! {
        extended_text_message, image_message, video_message, ptv_message, document_message,
        audio_message, sticker_message, location_message, live_location_message, contact_message,
        contacts_array_message, poll_creation_message, poll_creation_message_v2,
        poll_creation_message_v3, poll_creation_message_v5, poll_creation_message_v6,
        buttons_message, buttons_response_message, list_message, list_response_message,
        template_message, template_button_reply_message, interactive_message,
        interactive_response_message, product_message, order_message, group_invite_message,
        event_message, event_invite_message, sticker_pack_message, album_message,
        request_phone_number_message, newsletter_admin_invite_message,
        newsletter_follower_invite_message_v2, poll_result_snapshot_message,
    }
    None
}

/// The id in a key that names another message.
pub(super) fn target(key: &MessageField<wa::MessageKey>) -> Option<MessageId> {
    id_in(key.as_option()?)
}

/// The id in a key.
pub(super) fn id_in(key: &wa::MessageKey) -> Option<MessageId> {
    MessageId::parse(key.id.as_deref()?).ok()
}

/// The first key of the message object, in the spelling that Baileys and so the original use.
/// Distribution messages and context ride beside the content and do not name it.
pub(crate) fn kind_of(message: &wa::Message) -> &'static str {
    macro_rules! first {
        ($($field:ident => $name:literal),+ $(,)?) => {
            $(if message.$field.is_set() { return $name; })+
        };
    }
    if message.conversation.is_some() {
        return "conversation";
    }
    first! {
        extended_text_message => "extendedTextMessage",
        image_message => "imageMessage",
        video_message => "videoMessage",
        audio_message => "audioMessage",
        document_message => "documentMessage",
        document_with_caption_message => "documentWithCaptionMessage",
        sticker_message => "stickerMessage",
        location_message => "locationMessage",
        live_location_message => "liveLocationMessage",
        contact_message => "contactMessage",
        contacts_array_message => "contactsArrayMessage",
        ptv_message => "ptvMessage",
        album_message => "albumMessage",
        reaction_message => "reactionMessage",
        protocol_message => "protocolMessage",
        edited_message => "editedMessage",
        poll_creation_message => "pollCreationMessage",
        poll_creation_message_v2 => "pollCreationMessageV2",
        poll_creation_message_v3 => "pollCreationMessageV3",
        poll_creation_message_v4 => "pollCreationMessageV4",
        poll_creation_message_v5 => "pollCreationMessageV5",
        poll_creation_message_v6 => "pollCreationMessageV6",
        poll_creation_option_image_message => "pollCreationOptionImageMessage",
        poll_update_message => "pollUpdateMessage",
        poll_add_option_message => "pollAddOptionMessage",
        poll_result_snapshot_message => "pollResultSnapshotMessage",
        poll_result_snapshot_message_v3 => "pollResultSnapshotMessageV3",
        ephemeral_message => "ephemeralMessage",
        view_once_message => "viewOnceMessage",
        view_once_message_v2 => "viewOnceMessageV2",
        view_once_message_v2_extension => "viewOnceMessageV2Extension",
        group_mentioned_message => "groupMentionedMessage",
        lottie_sticker_message => "lottieStickerMessage",
        buttons_message => "buttonsMessage",
        buttons_response_message => "buttonsResponseMessage",
        list_message => "listMessage",
        list_response_message => "listResponseMessage",
        template_message => "templateMessage",
        template_button_reply_message => "templateButtonReplyMessage",
        interactive_message => "interactiveMessage",
        interactive_response_message => "interactiveResponseMessage",
        highly_structured_message => "highlyStructuredMessage",
        group_invite_message => "groupInviteMessage",
        order_message => "orderMessage",
        product_message => "productMessage",
        invoice_message => "invoiceMessage",
        send_payment_message => "sendPaymentMessage",
        request_payment_message => "requestPaymentMessage",
        decline_payment_request_message => "declinePaymentRequestMessage",
        cancel_payment_request_message => "cancelPaymentRequestMessage",
        payment_invite_message => "paymentInviteMessage",
        payment_reminder_message => "paymentReminderMessage",
        split_payment_message => "splitPaymentMessage",
        sticker_pack_message => "stickerPackMessage",
        event_message => "eventMessage",
        event_invite_message => "eventInviteMessage",
        event_cover_image => "eventCoverImage",
        enc_event_response_message => "encEventResponseMessage",
        scheduled_call_creation_message => "scheduledCallCreationMessage",
        scheduled_call_edit_message => "scheduledCallEditMessage",
        pin_in_chat_message => "pinInChatMessage",
        keep_in_chat_message => "keepInChatMessage",
        comment_message => "commentMessage",
        enc_comment_message => "encCommentMessage",
        enc_reaction_message => "encReactionMessage",
        secret_encrypted_message => "secretEncryptedMessage",
        call => "call",
        chat => "chat",
        bcall_message => "bcallMessage",
        // The protobuf itself is misspelt.
        call_log_messsage => "callLogMesssage",
        request_phone_number_message => "requestPhoneNumberMessage",
        newsletter_admin_invite_message => "newsletterAdminInviteMessage",
        newsletter_follower_invite_message_v2 => "newsletterFollowerInviteMessageV2",
        newsletter_admin_profile_message => "newsletterAdminProfileMessage",
        newsletter_admin_profile_message_v2 => "newsletterAdminProfileMessageV2",
        newsletter_admin_profile_status_message => "newsletterAdminProfileStatusMessage",
        placeholder_message => "placeholderMessage",
        associated_child_message => "associatedChildMessage",
        status_mention_message => "statusMentionMessage",
        group_status_mention_message => "groupStatusMentionMessage",
        status_add_yours => "statusAddYours",
        group_status_message => "groupStatusMessage",
        group_status_message_v2 => "groupStatusMessageV2",
        status_notification_message => "statusNotificationMessage",
        status_question_answer_message => "statusQuestionAnswerMessage",
        status_quoted_message => "statusQuotedMessage",
        status_sticker_interaction_message => "statusStickerInteractionMessage",
        rich_response_message => "richResponseMessage",
        limit_sharing_message => "limitSharingMessage",
        bot_invoke_message => "botInvokeMessage",
        bot_task_message => "botTaskMessage",
        bot_forwarded_message => "botForwardedMessage",
        question_message => "questionMessage",
        question_reply_message => "questionReplyMessage",
        question_response_message => "questionResponseMessage",
        spoiler_message => "spoilerMessage",
        conditional_reveal_message => "conditionalRevealMessage",
        message_history_bundle => "messageHistoryBundle",
        message_history_notice => "messageHistoryNotice",
        sticker_sync_rmr_message => "stickerSyncRmrMessage",
        group_root_key_share => "groupRootKeyShare",
        root_secret_distribute_message => "rootSecretDistributeMessage",
        device_sent_message => "deviceSentMessage",
        sender_key_distribution_message => "senderKeyDistributionMessage",
        fast_ratchet_key_sender_key_distribution_message
            => "fastRatchetKeySenderKeyDistributionMessage",
    }
    "unknown"
}

/// Whether a message of this kind is between devices only, so that no person wrote it.
pub(super) fn is_internal(kind: &str) -> bool {
    matches!(
        kind,
        "senderKeyDistributionMessage"
            | "fastRatchetKeySenderKeyDistributionMessage"
            | "deviceSentMessage"
            | "groupRootKeyShare"
            | "rootSecretDistributeMessage"
    )
}

/// Whether a change of this kind is between the devices of one account only.
pub(super) fn is_bookkeeping(change: &wa::message::ProtocolMessage) -> bool {
    use wa::message::protocol_message::Type;
    matches!(
        change.r#type,
        Some(
            Type::EPHEMERAL_SYNC_RESPONSE
                | Type::HISTORY_SYNC_NOTIFICATION
                | Type::APP_STATE_SYNC_KEY_SHARE
                | Type::APP_STATE_SYNC_KEY_REQUEST
                | Type::MSG_FANOUT_BACKFILL_REQUEST
                | Type::INITIAL_SECURITY_NOTIFICATION_SETTING_SYNC
                | Type::APP_STATE_FATAL_EXCEPTION_NOTIFICATION
                | Type::PEER_DATA_OPERATION_REQUEST_MESSAGE
                | Type::PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE
                | Type::LID_MIGRATION_MAPPING_SYNC
        )
    )
}
